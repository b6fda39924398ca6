"""Pushes an image to a registry, as the order on standard input says, and prints the digest of its manifest."""

import json
import os
import sys
import tempfile

import oras.client

order = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    files = []
    annotations = {}
    for number, layer in enumerate(order["layers"]):
        name = f"layer-{number}"
        with open(layer["path"], "rb") as source, open(name, "wb") as copy:
            copy.write(source.read())
        files.append(f"{name}:{layer['type']}")
        annotations[name] = layer["annotations"]
    with open("annotations.json", "w", encoding="utf-8") as file:
        json.dump(annotations, file)
    with open("config.json", "w", encoding="utf-8") as file:
        file.write("{}")
    pushed = oras.client.OrasClient(insecure=True).push(
        target=order["target"],
        files=files,
        manifest_config=f"config.json:{order['config']}",
        annotation_file="annotations.json",
        quiet=True,
    )
print(pushed.headers["Docker-Content-Digest"])
