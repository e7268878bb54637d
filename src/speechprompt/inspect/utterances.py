"""One utterance of the unit shards: found without reading the others, and drawn."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speechprompt.audio.places import Place
from speechprompt.audio.reading import SAMPLE_RATE, read_audio
from speechprompt.corpora.manifest import read_root
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.inspect.artefacts import results_folder
from speechprompt.storage.files import content_of, read_json
from speechprompt.storage.parquet import metadata_of, open_parquet
from speechprompt.units.unit_files import UNITS_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Utterance", "find_utterance", "plot_utterance"]

# 800 dots wide, so that at half the size the smallest letters are as large as those of a page.
STYLE = {"figure.dpi": 160, "savefig.bbox": "standard", "axes.titlesize": 11}
SMALLEST_TEXT = 9.5
RANGE_DB = 70


@dataclass(frozen=True)
class Utterance:
    """A row of a units file, with metadata of the file.

    Attributes:
        row: value of every column.
        part: the units file.
        codebook: name of the codebook.
        n_units: number of units of the codebook.
        frame_rate: frames per second; None for ready units.
    """

    row: dict[str, Any]
    part: Path
    codebook: str
    n_units: int
    frame_rate: float | None

    @property
    def reference(self) -> str:
        """Labels of all columns."""
        labels = [self.row[name] for name in self.row if name not in UNITS_COLUMNS]
        return " | ".join(label for label in labels if label is not None)

    def audio_path(self, root: str | Path | None = None) -> Path:
        """Find the utterance's recording.

        Args:
            root: folder that the corpus's paths are relative to; by default the one in the run's
                manifest.

        Raises:
            CorpusError: the utterance has no recording, or the recording is missing.
        """
        if self.row["path"] is None:
            raise CorpusError(f"{self.row['utt_id']!r}: its units came ready, without a recording")
        root = self._corpus_root() if root is None else Path(root)
        if root is None or not Path(Place.at(root / self.row["path"]).file).is_file():
            looked = "a manifest of its run" if root is None else root / self.row["path"]
            raise CorpusError(
                f"recording {self.row['path']}: looked for {looked}; give the folder that the "
                "corpus's paths start from as --root"
            )
        return root / self.row["path"]

    def _corpus_root(self) -> Path | None:
        """The root in the manifest of the split, if the units file is in a run."""
        results, split = results_folder(self.part), self.part.absolute().parent
        if results is None:
            return None
        manifest = results / "manifests" / split.parent.name / f"{split.name}.parquet"
        return read_root(manifest) if manifest.is_file() else None


def find_utterance(path: str | Path, utt_id: str) -> Utterance:
    """Find an utterance in a units file or in the files that an index.json lists.

    Only names are read, and then the row group that has the utterance.

    Raises:
        ArtefactError: the path is no units file or index, or has no such utterance.
    """
    with content_of(path):
        return _find_utterance(Path(path), utt_id)


def _find_utterance(path: Path, utt_id: str) -> Utterance:
    parts = [path]
    if path.is_dir() or path.suffix == ".json":
        path = path / "index.json" if path.is_dir() else path
        value = read_json(path) if path.is_file() else {}
        if "parts" not in value:
            raise ArtefactError(f"{path}: expected an index of units")
        parts = [path.parent / part["name"] for part in value["parts"]]
    n_rows = 0
    for part in parts:
        with open_parquet(part) as file:
            metadata = metadata_of(file.schema_arrow)
            if "units" not in file.schema_arrow.names or "codebook" not in metadata:
                raise ArtefactError(f"{part}: expected a units file, such as part-*.parquet")
            n_rows += file.metadata.num_rows
            if row := _find_row(file, utt_id):
                rate = metadata.get("frame_rate")
                return Utterance(
                    row,
                    part,
                    metadata["codebook"],
                    int(metadata["n_units"]),
                    None if rate is None else float(rate),
                )
    raise ArtefactError(f"{path}: no utterance {utt_id!r} among {n_rows}")


def find_prediction(path: str | Path, utt_id: str) -> dict[str, Any]:
    """Find an utterance's row of a predictions file.

    Raises:
        ArtefactError: the file has no predictions, or none of this utterance.
    """
    with open_parquet(path) as file:
        if missing := {"utt_id", "reference", "prediction"} - set(file.schema_arrow.names):
            raise ArtefactError(f"{path}: expected predictions, columns {missing} are missing")
        if row := _find_row(file, utt_id):
            return row
    raise ArtefactError(f"{path}: no prediction for utterance {utt_id!r}")


def _find_row(file: pq.ParquetFile, utt_id: str) -> dict[str, Any] | None:
    """An utterance's row; only names are read until it is found."""
    for group in range(file.num_row_groups):
        names = file.read_row_group(group, columns=["utt_id"])["utt_id"]
        place = pc.index(names, utt_id).as_py()
        if place >= 0:
            return file.read_row_group(group).slice(place, 1).to_pylist()[0]
    return None


def plot_utterance(
    utterance: Utterance,
    out: str | Path,
    *,
    root: str | Path | None = None,
    predictions: str | Path | None = None,
) -> None:
    """Draw an utterance's waveform, spectrogram and units, with reference and prediction as title.

    Args:
        utterance: the utterance.
        out: picture to write, PNG.
        root: folder that the corpus's paths are relative to; by default the one in the run's
            manifest.
        predictions: predictions file that has the utterance.

    Raises:
        ArtefactError: the units have no durations, or there is no prediction.
        CorpusError: the recording is missing or cannot be read.
    """
    from speechprompt.report.pictures import house_figure

    row = utterance.row
    if row["durations"] is None or utterance.frame_rate is None:
        raise ArtefactError(f"{row['utt_id']!r}: its units came ready, without durations")
    answered = None if predictions is None else find_prediction(predictions, row["utt_id"])
    samples = read_audio(utterance.audio_path(root))
    seconds = max(len(samples) / SAMPLE_RATE, row["n_frames"] / utterance.frame_rate)
    ratios = {"sharex": True, "height_ratios": (1, 1.7, 0.7)}
    with house_figure(out, "", 5.0, 3, STYLE, **ratios) as (figure, panels):
        _draw_audio(panels[0], panels[1], samples)
        _draw_units(panels[2], utterance)
        panels[2].set(xlabel="time (s)", xlim=(0, seconds))
        figure.suptitle(_title(utterance, answered), x=0.02, ha="left", fontsize=11)


def _title(utterance: Utterance, answered: dict[str, Any] | None) -> str:
    reference = answered["reference"] if answered else utterance.reference
    lines = [utterance.row["utt_id"], f"reference: {reference or 'none'}"]
    if answered is not None:
        share = np.exp(answered["score"])
        lines.append(f"prediction: {answered['prediction'] or 'none'} (p = {share:.2g})")
    from speechprompt.report.fonts import drawable

    wrapped = [textwrap.wrap(line, 54, subsequent_indent="    ", max_lines=3) for line in lines]
    return "\n".join(drawable([line for lines in wrapped for line in lines]))


def _draw_audio(wave: "Axes", spectrogram: "Axes", samples: np.ndarray) -> None:
    from scipy import signal

    wave.plot(np.arange(len(samples)) / SAMPLE_RATE, samples, color="black", linewidth=0.5)
    peak = max(float(np.abs(samples).max()), 1e-4) * 1.1
    wave.set(ylabel="amplitude", ylim=(-peak, peak))
    wave.locator_params(axis="y", nbins=3)
    # Windows of 25 ms every 5 ms; for a long recording, not more windows than the picture has dots.
    window, hop = min(400, len(samples)), max(80, len(samples) // 1600)
    settings = {"window": "hann", "nperseg": window, "noverlap": max(window - hop, 0)}
    padded = np.pad(samples, (window // 2, window // 2))
    frequencies, times, power = signal.spectrogram(
        padded, SAMPLE_RATE, detrend=False, scaling="spectrum", **settings
    )
    # Without the small number, digital silence would be -infinity.
    level = 10 * np.log10(power + 1e-12)
    times, top = times - window / 2 / SAMPLE_RATE, level.max()
    style: dict[str, Any] = {"cmap": "magma", "vmin": top - RANGE_DB, "vmax": top}
    spectrogram.pcolormesh(times, frequencies / 1000, level, rasterized=True, **style)
    spectrogram.grid(False)
    place: dict[str, Any] = {"transform": spectrogram.transAxes, "ha": "right", "va": "top"}
    text = f"black: {RANGE_DB} dB below the loudest"
    spectrogram.text(0.99, 0.97, text, color="white", fontsize=SMALLEST_TEXT, **place)
    spectrogram.set(ylabel="frequency (kHz)", ylim=(0, SAMPLE_RATE / 2000))


def _draw_units(axes: "Axes", utterance: Utterance) -> None:
    """Draw units as a coloured strip, with numbers where they fit: they have no order."""
    from speechprompt.report.listening import unit_colour
    from speechprompt.report.pictures import WIDTH

    units = np.asarray(utterance.row["units"])
    edges = np.concatenate(([0], np.cumsum(utterance.row["durations"]))) / utterance.frame_rate
    widths = np.diff(edges)
    colours = [unit_colour(int(unit)) for unit in units]
    axes.bar(edges[:-1], 1.0, widths, color=colours, align="edge", edgecolor="white", linewidth=0.3)
    axes.grid(False)
    axes.set(ylabel=f"units of\n{utterance.codebook}", ylim=(0, 1), yticks=[])
    points = 0.8 * WIDTH * 72 / max(float(edges[-1]), 1e-3)  # per second
    style: dict[str, Any] = {"ha": "center", "va": "center", "rotation": 90, "color": "white"}
    wide = widths >= SMALLEST_TEXT / points
    for unit, middle in zip(units[wide], (edges[:-1] + widths / 2)[wide], strict=True):
        axes.text(middle, 0.5, str(unit), fontsize=SMALLEST_TEXT, fontweight="bold", **style)
