"""The published schema and the parser give the same verdict on every rule of shape.

Golden folders say whether their rule is one of shape or of meaning: a schema must refuse the former and cannot
know the latter. What JSON itself forbids (and the limits of our reader) is checked while loading.
"""

import json
import pathlib
import sys

import jsonschema

ROOT = pathlib.Path(sys.argv[1])
STRING = '"'


class Refused(Exception):
    """Not a JSON text that our reader takes."""


def without_comments(text):
    """Comments become nothing; strings stay as they are."""
    out, at = [], 0
    while at < len(text):
        if text[at] == STRING:
            end = at + 1
            while end < len(text) and text[end] != STRING:
                end += 2 if text[end] == "\\" else 1
            out.append(text[at : end + 1])
            at = end + 1
        elif text.startswith("//", at):
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif text.startswith("/*", at):
            if text.find("*/", at + 2) < 0:
                raise Refused("open comment")
            at = text.find("*/", at + 2) + 2
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def refuse(what):
    raise Refused(what)


def unique(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise Refused("duplicate key")
    for text in [key for key, _ in pairs] + [value for _, value in pairs if isinstance(value, str)]:
        text.encode("utf-8")  # a lone surrogate cannot be encoded
        if "\0" in text:
            raise Refused("NUL")
    return dict(pairs)


def load(path):
    try:
        return json.loads(
            without_comments(path.read_bytes().decode("utf-8")),
            object_pairs_hook=unique,
            parse_float=refuse,
            parse_constant=refuse,
        )
    except (ValueError, Refused):  # UnicodeError and JSONDecodeError are ValueErrors
        return None


def main():
    schema = json.loads((ROOT / "topology/topology.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    golden = ROOT / "tests/golden"
    wanted = [(path, True) for path in sorted((ROOT / "examples").glob("*.json"))]
    wanted += [(path / "topology.json", True) for path in sorted((golden / "valid").iterdir())]
    for path in sorted((golden / "invalid").iterdir()):
        wanted.append((path / "topology.json", not (path / "shape").exists()))

    wrong = 0
    for path, accept in wanted:
        document = load(path)
        error = None if document is None else next(validator.iter_errors(document), None)
        accepted = document is not None and error is None
        if accepted != accept:
            wrong += 1
            why = "" if error is None else f": {error.json_path}: {error.message[:120]}"
            print(f"{path.relative_to(ROOT)}: the schema {'accepts' if accepted else 'refuses'} it{why}")
    print(f"{len(wanted)} files, {wrong} verdicts differ")
    return 1 if wrong or len(wanted) < 300 else 0


sys.exit(main())
