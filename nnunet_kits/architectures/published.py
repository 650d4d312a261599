"""What networks of published systems have in common: they may have been others in an earlier version."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from nnunet_kits.errors import TrainingError


class PublishedNetwork(nn.Module):
    """A network as the authors of one paper built it.

    It follows their code, so it changes where we had read that wrongly. Weights of what it was before are refused.
    """

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights as torch does.

        Raises:
            TrainingError: they are of another network.
        """
        own = self.state_dict()
        missing, unknown = ([key for key in a if key not in b] for a, b in ((own, state_dict), (state_dict, own)))
        if strict and (missing or unknown):
            raise TrainingError(
                f"{type(self).__name__}: these are the weights of another network ({len(missing)} of ours are missing, "
                f"first {(missing or unknown)[0]}). The trainer of a published system may have had another network in "
                "an earlier version of nnunet_kits: use that version, or train again."
            )
        return super().load_state_dict(state_dict, strict, assign)
