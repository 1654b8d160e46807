"""The page of a bundle on the Hugging Face Hub: YAML for machines, then the model card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genrescope.apps.model_card import model_card, score_table
from genrescope.errors import MissingExtraError

__all__ = ["hub_page"]

_SITE = "https://huggingface.co"
#: What the Hub calls licences that a card may begin with, by how a card writes them.
_LICENCES = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "bsd-3-clause": "bsd-3-clause",
    "gpl-3.0": "gpl-3.0",
    "agpl-3.0": "agpl-3.0",
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0",
}
_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_f1": ("f1", "Macro-F1"),
    "log_loss": ("log_loss", "Log-loss"),
    "ece": ("ece", "Expected calibration error"),
}


def hub_page(card: Mapping[str, Any], *, repo: str) -> str:
    """``README.md`` for a repository of the Hub.

    Parameters
    ----------
    card : mapping
        ``Bundle.card``.
    repo : str
        ``OWNER/NAME``.

    Returns
    -------
    str
        Front matter with licence, tags and scores (as a model-index), then Markdown.

    Raises
    ------
    MissingExtraError
        If the package huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import EvalResult, ModelCardData
    except ImportError as error:
        raise MissingExtraError(
            "a page for the Hugging Face Hub", extra="hub", package="huggingface_hub"
        ) from error

    data = str(card["training"]["data"]).strip() or "unnamed"
    short = re.split(r"[,(;.]", data)[0].strip() or data
    row = card["metrics"]["table"][0] if card["metrics"]["table"] else {}
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name="Music genre recognition",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", short.lower()).strip("-") or "unnamed",
            dataset_name=short,
            metric_type=kind,
            metric_name=title,
            metric_value=round(float(row[key]), 4),
        )
        for key, (kind, title) in _METRICS.items()
        if row.get(key) is not None
    ]
    licence: dict[str, Any] = _licence(str(card["licence"]), repo)
    front = ModelCardData(
        **licence,
        library_name="genrescope",
        pipeline_tag="audio-classification",
        tags=["music", "music-genre-recognition", "audio", "onnx", "genrescope"],
        metrics=sorted({kind for key, (kind, _) in _METRICS.items() if row.get(key) is not None}),
        # The Hub takes scores only under the name of a model.
        model_name=f"{card['name']} {card['version']}" if results else None,
        eval_results=results or None,
    )
    return f"---\n{front.to_yaml().strip()}\n---\n\n{_body(card, repo)}"


def _licence(text: str, repo: str) -> dict[str, str]:
    """The licence as the Hub names it, if the text begins with a name that it has."""
    first = re.match(r"[A-Za-z][\w.\-]*\w", text.strip())
    known = _LICENCES.get(first[0].lower()) if first else None
    if known:
        return {"license": known}
    return {
        "license": "other",
        "license_name": "as-on-the-card",
        "license_link": f"{_SITE}/{repo}/blob/main/card.json",
    }


def _body(card: Mapping[str, Any], repo: str) -> str:
    use = (
        "## Use it\n\n```console\n"
        '$ pip install "genrescope[hub]"\n'
        f"$ genrescope bundles pull {repo}\n"
        f"$ genrescope predict --bundle hub:{repo} MUSIC\n```\n"
    )
    try:
        whole = model_card(card)
    except (KeyError, TypeError, IndexError):
        # A card needs less than a whole page does: one that was taught elsewhere.
        whole = _short(card)
    title, _, rest = whole.partition("\n\n")
    return f"{title}\n\n{use}\n{rest}"


def _short(card: Mapping[str, Any]) -> str:
    training = card["training"]
    parts = [
        f"# Model card: {card['name']}, version {card['version']}",
        card["description"],
        f"Genres: {', '.join(card['genres'])}.",
        "## What it was trained on",
        f"{training['data']}: {training['tracks']:,} tracks by {training['artists']:,} artists "
        f"(licence: {training['licence']}). Licence of the weights: {card['licence']}",
        "## How well it does",
        card["metrics"]["protocol"],
        score_table(card),
        f"Made on {card['created']}.",
    ]
    return "\n\n".join(parts) + "\n"
