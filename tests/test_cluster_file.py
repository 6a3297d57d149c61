"""The cluster file to start from is what `ray up` takes."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline import __version__


@pytest.fixture
def content() -> Any:
    text = (resources.files("pipeline") / "executor" / "ray-cluster.yaml").read_text()
    return yaml.safe_load(text)


def schema() -> Any:
    return json.loads((resources.files("ray") / "autoscaler" / "ray-schema.json").read_text())


def test_it_passes_rays_own_schema(content: Any) -> None:
    jsonschema.validate(content, schema())
    with pytest.raises(jsonschema.ValidationError, match="max_workerz"):
        jsonschema.validate({**content, "max_workerz": 3}, schema())


def test_ray_fills_it_in_without_a_complaint(content: Any) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(content)
    validate_config(filled)
    types = filled["available_node_types"]
    assert filled["head_node_type"] in types
    assert types["spot"]["resources"] == {"CPU": 16, "spot": 1}
    assert sum(types[name]["max_workers"] for name in ("steady", "spot")) == filled["max_workers"]


def test_it_installs_this_version_of_the_wheel(content: Any) -> None:
    wheel = f"dreamshards-{__version__}-py3-none-any.whl"
    assert list(content["file_mounts"]) == [f"/home/ubuntu/{wheel}"]
    assert any(wheel in command for command in content["setup_commands"])
