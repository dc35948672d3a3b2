"""Networks of others whose files look like those that are read here, and what to do with one.

Each is told by keys that no network here has; the checks are made after wrappers are stripped.
"""

from collections.abc import Collection, Mapping

# Part of a key -> what the network is, and what its owner can do.
FOREIGN: Mapping[str, tuple[str, str]] = {
    "GPT_Transformer.": ("PointGPT", "its blocks read patches in a causal order, which no block here does"),
    "generator_blocks.": ("PointGPT", "its blocks read patches in a causal order, which no block here does"),
    ".mixer.A_log": ("PointMamba", "its blocks are state-space models, which this project does not have"),
    "trans2embed.": ("Uni3D", "its input has colors and its blocks are EVA's"),
    "ppat.": ("OpenShape-PointBERT", "its patches come from ball queries on colored points"),
    "pc_projection": ("ULIP", "its input has colors and its tokens change their width"),
    "dgcnn_1.": ("a dVAE, the tokenizer of Point-BERT or ACT", "it only makes targets, and no encoder is in it"),
    "codebook": ("a dVAE, the tokenizer of Point-BERT or ACT", "it only makes targets, and no encoder is in it"),
    "reduce_dim.weight": ("Point-BERT or its like", "its patch tokens and blocks differ in width ('reduce_dim')"),
}
# A network that is read here may have one of these beside its own: ACT's pretraining keeps its tokenizer.
TOKENIZER = "dvae_tokenizer."
REMEDY = (
    "give a checkpoint of ReCon, Point-MAE or ACT, or encode with its own code and use the features as a teacher "
    "(teachers.<name>.path, see models/teachers/README.md)"
)


def describe_foreign(keys: Collection[str]) -> str | None:
    """What network of another project the keys belong to, with advice; None if they do not show one."""
    own = [key for key in keys if not key.startswith(TOKENIZER)]
    for part, (name, reason) in FOREIGN.items():
        if any(part in key for key in own):
            return f"the weights are of {name}: {reason}; {REMEDY}"
    return None
