"""Whether a cluster file (`cluster.yaml`) can be given to `ray up`: all filled in, and no key that Ray or AWS would not take or would pass over."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from data_prep import BadInput

STAND_IN = "FILL_IN"
# Of `metadata`, which Ray does not read: what each is, and how it looks.
METADATA = {
    "region": ("a region", r"[a-z]{2}(-[a-z]+)+-\d"),
    "zones": ("zones of the region, with commas", r"[a-z]{2}(-[a-z]+)+-\d[a-z](,[a-z]{2}(-[a-z]+)+-\d[a-z])*"),
    "image": ("an image's id", r"ami-[0-9a-f]{8,17}"),
    "group": ("a security group's id", r"sg-[0-9a-f]{8,17}"),
    "head_profile": ("the name of an instance profile", r"[\w+=,.@-]+"),
    "worker_profile": ("the name of an instance profile", r"[\w+=,.@-]+"),
}
# What is missed in silence where it is misspelt: Ray passes over a key of `provider` that it does not know, and mounts whatever it is told to.
PROVIDER = {"aws": ("region", "availability_zone", "cache_stopped_nodes", "use_internal_ips"), "local": ("head_ip", "worker_ips")}
TOKEN = "~/.ray/auth_token"  # noqa: S105 - where it is, not what it is
# Ray's own default of each is not what a sweep needs.
WANTED = ("upscaling_speed", "idle_timeout_minutes", "rsync_exclude", "rsync_filter", "setup_commands", "file_mounts", "auth")
WANTED_OF_TYPE = ("max_workers", "node_config")
WANTED_OF_NODE = ("InstanceType", "ImageId", "IamInstanceProfile", "SecurityGroupIds", "BlockDeviceMappings", "MetadataOptions")


def check(file: Path) -> None:
    """BadInput with the first thing that is wrong with it."""
    for problem in problems(file):
        raise BadInput(problem)


def problems(file: Path) -> Iterator[str]:
    """All that is wrong with it, one line each: the rule, the value, the cure. BadInput where it is no file that can be read."""
    try:
        cluster = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"a cluster file is a file that can be read, but '{file}' is not ({error.strerror}): give the path of one, such as cluster.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield f"a cluster file is YAML, but {file} is not ({' '.join(str(error).split())[:200]}): mend it, or give another"
        return
    if not isinstance(cluster, dict) or not isinstance(cluster.get("provider"), dict):
        yield f"a cluster file says who provides the machines, but {file} has no `provider`: start from the project's cluster.yaml"
        return
    for found in (_schema(cluster), _filled_in(cluster), _keys(cluster), _nodes(cluster)):
        told = list(found)
        yield from told
        if told:
            # The rest would speak of the same.
            return


def _schema(cluster: Mapping[str, Any]) -> Iterator[str]:
    import jsonschema

    # Not imported: that takes a second.
    found = importlib.util.find_spec("ray")
    assert found
    assert found.origin
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    # Ray's own check comes after it has asked EC2 for these.
    whole = copy.deepcopy(dict(cluster))
    for kind in (whole.get("available_node_types") or {}).values():
        if isinstance(kind, dict):
            kind.setdefault("resources", {})
    for error in jsonschema.Draft7Validator(schema).iter_errors(whole):
        place = ".".join(map(str, error.absolute_path)) or "the file"
        yield f"a cluster file follows Ray's schema, but of {place} it says: {error.message[:200]}; mend that"


def _filled_in(cluster: Mapping[str, Any]) -> Iterator[str]:
    metadata = cluster.get("metadata", {})
    if cluster["provider"].get("type") == "aws":
        for key in sorted({*metadata} ^ {*METADATA}):
            what = "is not one of them" if key in metadata else "is missing"
            yield f"metadata holds {', '.join(METADATA)}, but {key} {what}: correct it"
        for key, (what, pattern) in METADATA.items():
            if key in metadata and (STAND_IN in str(metadata[key]) or not re.fullmatch(pattern, str(metadata[key]))):
                yield f"metadata.{key} is {what}, but it is {metadata[key]!r}: fill it in"
        return
    for place, value in _values(cluster):
        if STAND_IN in str(value):
            yield f"every {STAND_IN} is to be filled in, but {place} is {value!r}: put yours there"


def _values(part: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in inside:
        yield from _values(value, f"{place}.{key}".removeprefix("."))
    if not isinstance(part, dict | list):
        yield place, part


def _keys(cluster: Mapping[str, Any]) -> Iterator[str]:
    provider = cluster["provider"]
    known = PROVIDER.get(provider.get("type", ""), ())
    for key in sorted({*provider} ^ {"type", *known}):
        what = "is not one of them" if key in provider else "is missing"
        yield f"provider holds type, {', '.join(known)}, but {key} {what}: correct it"
    for key in WANTED:
        if key not in cluster:
            yield f"a cluster file says {key}, but it is missing: take it from the project's file"
    mounts = cluster.get("file_mounts", {})
    if mounts.get(TOKEN) != TOKEN:
        yield f"file_mounts takes {TOKEN} to each machine, or none of them may join, but it is not among them: add it"
    commands = " ".join(map(str, cluster.get("setup_commands", [])))
    folder = next((target for target, source in mounts.items() if source == "."), None)
    if folder is None or f"cd {folder} &&" not in commands:
        yield f"setup_commands installs the project from where file_mounts puts it, but that is {folder!r}: let both name one folder"


def _nodes(cluster: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in cluster.get("available_node_types", {}).items():
        for key in WANTED_OF_TYPE + (() if name == cluster.get("head_node_type") else ("min_workers", "priority")):
            if key not in kind:
                yield f"a type says {key}, but {name} does not: add it"
        if name == cluster.get("head_node_type") and kind.get("resources") != {"CPU": 0}:
            yield f"no trial runs on the head (resources: {{CPU: 0}}), but its resources are {kind.get('resources')}: correct them"
        node = kind.get("node_config", {})
        for key in WANTED_OF_NODE:
            if key not in node:
                yield f"node_config says {key}, but that of {name} does not: add it"
        yield from (f"node_config is what EC2 takes, but of {name} it says: {text}; mend that" for text in _as_ec2_says(node))


def _as_ec2_says(node: Mapping[str, Any]) -> list[str]:
    try:
        import botocore.session
        import botocore.validate
    except ImportError:
        raise BadInput(
            "a cluster file for AWS is checked by boto3, but that is not installed: pip install 'keras-sweeps[cluster]', then again"
        ) from None
    shape = botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = botocore.validate.ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
    # A line each, the first of which tells of all that come.
    return [line.strip() for line in report.generate_report().splitlines()]
