"""The networks behind :mod:`genrescope.audio.encoders.hub_models`, each as one function.

A builder reads a folder of files that are there already, and gives a function from pieces of sound
[n, samples] to embeddings [n, size].
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from genrescope.audio.encoders.base import FloatArray
from genrescope.errors import DataError, MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError("this encoder", extra="encoders", package="torch") from error

__all__ = ["BUILDERS", "PASST_ARCH", "PASST_WEIGHTS", "Forward", "passt_network"]

Forward = Callable[[FloatArray], FloatArray]

PASST_ARCH = "passt_s_swa_p16_128_ap476"
PASST_WEIGHTS = "passt.safetensors"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and hints of the library, which belong to whoever calls it directly."""
    from transformers.utils import logging as library_log

    logging: Any = library_log

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()


def _pretrained(model_class: Any, folder: Path, **options: Any) -> Any:
    """A network of the library with the weights in a folder, all of them."""
    with _quiet():
        model, report = model_class.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise DataError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more; "
            "this is another kind of model"
        )
    return model.eval().float()


def _ast(folder: Path, sr: int) -> Forward:
    from transformers import ASTFeatureExtractor, ASTModel

    extractor = ASTFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
    model = _pretrained(ASTModel, folder)

    def forward(pieces: FloatArray) -> FloatArray:
        given = extractor(list(pieces), sampling_rate=sr, return_tensors="pt")
        with torch.inference_mode():
            return _numpy(model(given["input_values"]).pooler_output)

    return forward


def _mert(folder: Path, sr: int) -> Forward:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    said = json.loads((folder / "config.json").read_bytes())
    # MERT is a HuBERT but for these two, which its own program (not run here) would bring.
    if said.get("feature_extractor_cqt") or (said.get("attention_relax") or 0) > 0:
        raise DataError(
            f"{folder}: a MERT with a constant-Q input or relaxed attention, which transformers "
            "cannot build by itself; MERT-v1-95M has neither"
        )
    own = {key: value for key, value in said.items() if key not in ("model_type", "auto_map")}
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(str(folder), local_files_only=True)
    model = _pretrained(HubertModel, folder, config=HubertConfig(**own))

    def forward(pieces: FloatArray) -> FloatArray:
        given = extractor(list(pieces), sampling_rate=sr, return_tensors="pt")
        with torch.inference_mode():
            layers = model(given["input_values"], output_hidden_states=True).hidden_states
            # Genre is spread over the layers: their mean, and the mean over time.
            return _numpy(torch.stack(layers).mean(dim=(0, 2)))

    return forward


def _clap(folder: Path, sr: int) -> Forward:
    from transformers import ClapFeatureExtractor, ClapModel

    extractor = ClapFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
    model = _pretrained(ClapModel, folder)
    if model.config.audio_config.enable_fusion:
        raise DataError(
            f"{folder}: a CLAP that fuses random pieces of long sound, so that its answer "
            "changes; take one without fusion"
        )

    def forward(pieces: FloatArray) -> FloatArray:
        given = extractor(
            list(pieces), sampling_rate=sr, return_tensors="pt", truncation="rand_trunc"
        )
        with torch.inference_mode():
            found = model.get_audio_features(input_features=given["input_features"])
        # Newer versions give it inside an object.
        return _numpy(getattr(found, "pooler_output", found))

    return forward


def passt_network(*, pretrained: bool) -> Any:
    """PaSST as its package builds it; fetches the weights if `pretrained`."""
    from hear21passt.models.passt import get_model

    with contextlib.redirect_stdout(io.StringIO()):  # it prints the whole network
        return get_model(arch=PASST_ARCH, pretrained=pretrained)


def _passt(folder: Path, sr: int) -> Forward:
    from hear21passt.models.preprocess import AugmentMelSTFT
    from safetensors.torch import load_file

    with contextlib.redirect_stdout(io.StringIO()):
        mel = AugmentMelSTFT(
            n_mels=128, sr=sr, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192,
            htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
        ).eval()  # fmt: skip
    network = passt_network(pretrained=False)
    network.load_state_dict(load_file(str(folder / PASST_WEIGHTS)))
    network.eval()

    def forward(pieces: FloatArray) -> FloatArray:
        with torch.inference_mode():
            spectra = mel(torch.from_numpy(pieces)).unsqueeze(1)
            _, features = network(spectra)
            return _numpy(features)

    return forward


def _numpy(tensor: Any) -> FloatArray:
    found: FloatArray = tensor.detach().cpu().float().numpy()
    return found


BUILDERS: dict[str, Callable[[Path, int], Forward]] = {
    "ast": _ast,
    "mert": _mert,
    "clap": _clap,
    "passt": _passt,
}
