"""The project's cluster files, and as a user would have filled them in."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
AWS, ONPREM = ROOT / "cluster.yaml", ROOT / "cluster-onprem.yaml"
REGION = "us-west-2"
PROFILES = {"HEAD": "of-the-head", "WORKER": "of-the-workers"}


def filled(text: str, image: str = "ami-0123456789abcdef0", group: str = "sg-0123456789abcdef0") -> str:
    """For AWS."""
    for stand_in, value in {
        "FILL_IN_REGION": REGION,
        "FILL_IN_ZONES": f"{REGION}a,{REGION}b,{REGION}c",
        "ami-FILL_IN": image,
        "sg-FILL_IN": group,
        "FILL_IN_HEAD_PROFILE": PROFILES["HEAD"],
        "FILL_IN_WORKER_PROFILE": PROFILES["WORKER"],
    }.items():
        assert text.count(stand_in) == 1, stand_in
        text = text.replace(stand_in, value)
    return text


def filled_onprem(text: str, head: str = "10.0.0.1", workers: tuple[str, ...] = ("10.0.0.2", "10.0.0.3"), user: str = "me") -> str:
    """For machines of one's own."""
    for stand_in, value in {"FILL_IN_HEAD": head, "FILL_IN_WORKERS": ", ".join(workers), "FILL_IN_USER": user}.items():
        assert text.count(stand_in) == 1, stand_in
        text = text.replace(stand_in, value)
    return text
