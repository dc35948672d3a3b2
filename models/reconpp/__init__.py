"""ReCon++, the successor of ReCon: many queries and views, colours, a causal variant, four sizes."""
