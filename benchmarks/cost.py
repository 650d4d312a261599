"""What `nnunet_kits recipes show NAME --cost` reckons, counted anew: the networks of all shipped recipes.

    python benchmarks/cost.py            # compare with what is kept
    python benchmarks/cost.py --write    # keep it: nnunet_kits/costs/counted.json

Counting takes a minute a recipe, because nnU-Net's planner builds many networks to size a patch; it needs no GPU.
"""

import argparse
import json

from nnunet_kits.costs.members import COUNTED, count, identity
from nnunet_kits.recipes import load_recipe, recipe_names


def main() -> None:
    """Count, then compare or keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep what is counted")
    options = parser.parse_args()
    kept = json.loads(COUNTED.read_text()) if COUNTED.is_file() else {}
    found = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        members = {identity(recipe, member): member for member in recipe.members.values()}
        new = {key: member for key, member in members.items() if key not in found}
        found |= count(recipe, list(new.values())) if new else {}
        for key, member in members.items():
            size = found[key]
            told = f"{size['parameters'] / 1e6:.1f} M, {size['forward_tflop']:.3f} TFLOP forward"
            print(
                f"{name}, {member.trainer}: {told}: {'as kept' if kept.get(key) == size else 'not as kept'}", flush=True
            )
    if options.write:
        COUNTED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
