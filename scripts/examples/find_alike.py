"""Embeds a folder of meshes and point clouds, prints each one's nearest other, and searches it in words.

python find_alike.py FOLDER                          # path, nearest other, cosine
python find_alike.py FOLDER --words "floor lamp"     # the shapes that look most like these words
"""

import argparse
import os

import numpy as np

import pointrecon


def main() -> None:
    """Reads the command line and does it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="with files such as .obj, .glb, .stl, .ply, .npy")
    parser.add_argument(
        "--model", default="pointrecon-small", help="a name from pointrecon.list_models(), or a checkpoint"
    )
    parser.add_argument("--words", help="what to look for")
    parser.add_argument("--up", default="auto", help="the axis that is up in the files")
    args = parser.parse_args()

    model = pointrecon.load_model(args.model)
    found = model.embed(args.folder, up=args.up, jobs=os.cpu_count() or 1)
    for name, why in found.skipped.items():
        print(f"skipped {name}: {why}")

    # Embeddings of one network point in similar directions: what they have in common says nothing.
    vectors = found.embeddings - found.embeddings.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    for row, nearest in enumerate(cosines.argmax(axis=1)):
        print(f"{found.ids[row]}\t{found.ids[nearest]}\t{cosines[row, nearest]:.3f}")

    if args.words:
        from pointrecon.search import ShapeIndex

        index, _ = ShapeIndex.build(model, args.folder, up=args.up)
        print(f"\nmost like '{args.words}':")
        for hit in model.search({"words": args.words}, index, top=5):
            print(f"{hit.score:.3f}\t{hit.id}")


if __name__ == "__main__":
    main()
