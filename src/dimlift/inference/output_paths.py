"""Where predicted labels are written, and in which format."""

from collections.abc import Sequence
from pathlib import Path

from dimlift.data.case import Case
from dimlift.errors import RunError, UnknownNameError
from dimlift.inference.modality.base import Modality


def plan_outputs(
    modality: Modality, cases: Sequence[Case], output: Path, output_format: str | None
) -> dict[str, tuple[Path, str]]:
    """Return the file and the format of each case's labels, by the name of the case.

    Args:
        output: a folder; for a single case also the file itself.
        output_format: None takes the format of the output file, or else of each input.

    Raises:
        RunError: if the output would replace an input, or is a file where a folder is needed.
        UnknownNameError: if there is no such format.
        DataError: if the format cannot be written for an input.
    """
    formats = modality.output_suffixes
    if output_format is not None and output_format not in formats:
        raise UnknownNameError("format", output_format, formats)
    named = next((name for name, suffixes in formats.items() if output.name.lower().endswith(suffixes)), None)
    if output.is_dir():
        named = None
    if named is not None and len(cases) == 1:
        chosen = output_format or named
        if not output.name.lower().endswith(formats[chosen]):
            raise RunError(f"{output} has no suffix of the format {chosen}; name it {output.stem}{formats[chosen][0]}")
        outputs = {cases[0].name: (output, chosen)}
    elif named is not None:
        raise RunError(f"{output} is a file, but there are {len(cases)} cases; give a folder to write them into")
    elif output.is_file():
        known = ", ".join(suffix for suffixes in formats.values() for suffix in suffixes)
        raise RunError(f"{output} is a file that cannot hold labels; give a folder, or a name that ends in {known}")
    else:
        chosen_formats = {case.name: output_format or modality.default_format(case) for case in cases}
        outputs = {name: (output / f"{name}{formats[each][0]}", each) for name, each in chosen_formats.items()}
    _protect_inputs(modality, cases, outputs)
    return outputs


def _protect_inputs(modality: Modality, cases: Sequence[Case], outputs: dict[str, tuple[Path, str]]) -> None:
    """Raises: RunError or DataError, if an output would replace an input or cannot be written for it."""
    inputs = {image.resolve() for case in cases for image in case.images}
    for case in cases:
        path, output_format = outputs[case.name]
        modality.require_format(output_format, case)
        if path.resolve() in inputs:
            raise RunError(f"{path} is one of the inputs; its labels would overwrite it, give another output")
        if path.resolve().parent in inputs:
            raise RunError(f"{path} would lie among the slices of its own series; give another output")
