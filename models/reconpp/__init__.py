"""ReCon++, the successor of ReCon: many queries and views, colours, a causal variant, sizes up to two billion weights."""
