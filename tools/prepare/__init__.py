"""Getting data ready: own folders, packed files, pictures and features for teachers, the bundled set, shards."""
