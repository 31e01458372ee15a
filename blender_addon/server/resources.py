"""Which models there are. No bpy."""

from __future__ import annotations

from pathlib import Path


def find_models(root: Path, models_folder: str = "") -> dict[str, str]:
    """Names of the models that can be used now -> what a request calls them.

    The bundled ones go by their name; those in the user's folder by their path.
    """
    models = {}
    if models_folder:
        models = {path.parent.name: str(path.parent) for path in Path(models_folder).glob("*/pipeline.json")}
    for path in (root / "backend" / "pretrained").glob("*/pipeline.json"):
        models[path.parent.name] = path.parent.name
    return models
