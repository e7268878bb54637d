"""Puts the pipeline into the wheel, where ``speechprompt run`` finds it; see pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# What Snakemake reads. The report's captions lie in the package, and rules name them from here.
PIPELINE = ("workflow", "rules", "envs", "configs", "config.yaml")
CAPTIONS = "src/speechprompt/report/data"


class BuildWithPipeline(build_py):
    """Copies the pipeline beside the package's modules."""

    def run(self) -> None:
        """Build, and copy the pipeline unless the package stays where it is."""
        super().run()
        if self.editable_mode:
            return
        root, place = Path(__file__).parent, Path(self.build_lib, "speechprompt", "pipeline")
        shutil.rmtree(place, ignore_errors=True)
        for name in (*PIPELINE, *(f.relative_to(root) for f in (root / CAPTIONS).glob("*.rst"))):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (root / name).is_dir() else shutil.copyfile
            copy(root / name, target)


setup(cmdclass={"build_py": BuildWithPipeline})
