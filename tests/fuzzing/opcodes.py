"""Ways to spoil a pickle opcode by opcode, so that it stays a pickle: what it asks for becomes something else."""

import pickletools
import random
import struct

NAMES = (
    *("numpy dtype", "numpy ndarray", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar"),
    *("numpy._core.numeric _frombuffer", "_codecs encode", "builtins bytearray", "builtins bytes", "builtins set"),
    *("builtins frozenset", "builtins complex", "collections OrderedDict", "collections Counter", "builtins eval"),
    *("os system", "argparse Namespace", "torch FloatStorage", "torch._utils _rebuild_tensor_v2", "torch Size"),
    *("torch.nn.parameter Parameter", "numpy ndarray.tofile", "builtins getattr", "copyreg _reconstructor"),
)
# Whole pieces: values, then calls, states and the like that take whatever is on the stack.
VALUES = (
    *(b"N", b"K\x05", b"J\xff\xff\xff\xff", b"G\x7f\xf0\0\0\0\0\0\0", b"\x88", b"]", b"}", b")", b"\x8f", b"I7\n"),
    *(b"X\x02\0\0\0f4", b"X\x06\0\0\0latin1", b"X\x04\0\0\0idna", b"\x8e\x03\0\0\0\0\0\0\0abc", b"C\x02ab", b"S'ab'\n"),
    *(b"\x8a\x09\0\0\0\0\0\0\0\0\x01", b"\x8a\xff" + b"\x7f" * 255, b"U\x01<", b"M\xff\xff", b"K\x01K\x02\x86"),
    *(b"(K\x01K\x02l", b"(K\x01K\x02t", b"(K\x01K\x02d", b"]q\x40(K\x01h\x40h\x40e", b"J\xff\xff\xff\x7f", b"I00\n"),
)
ACTIONS = (b"R", b"b", b"\x81", b"s", b"a", b"Q", b"0", b"2", b"(", b"t", b"l", b"d", b"u", b"e", b"\x90", b"\x91")
ACTIONS += (b"1", b"\x85", b"\x86", b"\x87", b"o", b"\x92", b"\x93", b"\x94", b"q\x07", b"h\x00", b"h\x07", b"\x82\x01")
ACTIONS += (
    b"r\xff\xff\xff\x7f",
    b"j\x01\0\0\0",
    b"Pname\n",
    b"\x97",
    b"\x98",
    b"\x96\x02\0\0\0\0\0\0\0ab",
    b"\x80\x05",
)


def spoil_opcodes(data: bytes, rng: random.Random) -> bytes:
    """Drops, repeats, swaps, replaces and inserts opcodes, or changes what a name or a number says.

    Args:
        data: A pickle, of any protocol; of one that is damaged, what comes before the damage.
        rng: Draws the changes.
    """
    pieces = split_opcodes(data)
    end = pieces.pop() if pieces and pieces[-1] == b"." else b"."
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(len(pieces) + 1)
        kind = rng.choice(("drop", "repeat", "swap", "value", "value", "action", "action", "name", "name", "bomb"))
        if kind in ("drop", "repeat", "swap", "name") and not pieces:
            continue
        place = min(place, len(pieces) - 1) if kind not in ("value", "action", "bomb") else place
        if kind == "drop":
            del pieces[place]
        elif kind == "repeat":
            pieces[place:place] = [pieces[place]] * rng.choice((1, 2, 50))
        elif kind == "swap":
            other = rng.randrange(len(pieces))
            pieces[place], pieces[other] = pieces[other], pieces[place]
        elif kind == "value":
            pieces[place : place + rng.choice((0, 1))] = [rng.choice(VALUES)]
        elif kind == "action":
            pieces[place : place + rng.choice((0, 1))] = [rng.choice(ACTIONS)]
        elif kind == "name":
            _rename(pieces, rng)
        else:
            pieces[place : place + rng.choice((0, 1))] = [make_bomb(rng)]
    return b"".join(pieces) + end


def split_opcodes(data: bytes) -> list[bytes]:
    """The opcodes of a pickle, each with its argument; frames are left out, since their sizes would be wrong."""
    pieces, starts, names = [], [], []
    try:
        for opcode, _, start in pickletools.genops(data):
            starts.append(start)
            names.append(opcode.name)
    except ValueError:
        pass
    for start, stop, name in zip(starts, [*starts[1:], len(data)], names, strict=True):
        if name != "FRAME":
            pieces.append(data[start:stop])
    return pieces


def make_bomb(rng: random.Random) -> bytes:
    """Something small that is large when it is walked through, copied, hashed or allocated."""
    kind = rng.choice(("lists", "tuples", "length", "memo", "text", "deep", "key", "call"))
    if kind in ("lists", "tuples"):
        close = b"e" if kind == "lists" else b"t"
        made = (b"]" if kind == "lists" else b")") + b"q\x50"
        for index in range(0x51, 0x51 + rng.choice((5, 30, 60))):
            made += b"0" + (b"]" if kind == "lists" else b"") + (b"q" + bytes([index]) if kind == "lists" else b"")
            made += b"(" + (b"h" + bytes([index - 1])) * rng.choice((2, 10)) + close
            made += b"q" + bytes([index]) if kind == "tuples" else b""
        return made
    if kind == "length":
        return rng.choice((b"\x8e", b"\x8d", b"\x95")) + struct.pack(
            "<Q", rng.choice((1 << 20, 1 << 40, (1 << 64) - 1))
        )
    if kind == "memo":
        return b"r" + struct.pack("<I", rng.choice((1 << 12, 1 << 31)))
    if kind == "text":
        return b"X" + struct.pack("<I", 1 << 16) + b"x" * (1 << 16)
    if kind == "key":
        key = b")" + b"\x86".join([b"2"] * rng.choice((3, 12))) + b"\x86"
        return rng.choice((b"}" + key + b"Ns", b"\x8f(" + key + b"\x90", b"cbuiltins\nset\n](" + key + b"e\x85R"))
    if kind == "deep":
        return b")" + b"\x85" * rng.choice((100, 5000, 150_000))
    return (
        b"c"
        + rng.choice(NAMES).replace(" ", "\n", 1).encode()
        + b"\n("
        + rng.choice(VALUES) * rng.choice((0, 1, 2))
        + b"tR"
    )


def _rename(pieces: list[bytes], rng: random.Random) -> None:
    """Gives another name to something that is asked for."""
    name = rng.choice(NAMES)
    globals_ = [place for place, piece in enumerate(pieces) if piece[:1] == b"c"]
    if globals_:
        pieces[rng.choice(globals_)] = b"c" + name.replace(" ", "\n", 1).encode() + b"\n"
        return
    module, _, rest = name.partition(" ")
    stacked = [place for place, piece in enumerate(pieces) if piece == b"\x93"]
    if stacked:
        texts = (b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, rest))
        pieces[rng.choice(stacked)] = b"00" + b"".join(texts) + b"\x93"
    else:
        pieces.insert(rng.randrange(len(pieces) + 1), b"c" + name.replace(" ", "\n", 1).encode() + b"\n")
