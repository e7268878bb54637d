"""Jobs as the functions of the plan see them, without Snakemake."""

from types import SimpleNamespace


def of(**names):
    return SimpleNamespace(**names)


class Files(list):
    """A job's inputs as Snakemake gives them: paths by name and in order, and their sizes."""

    def __init__(self, sizes=None, **named):
        for paths in named.values():
            self.extend([paths] if isinstance(paths, str) else paths)
        self.__dict__.update(named)
        self._sizes = sizes or {}

    def get(self, name, default=None):
        return self.__dict__.get(name, default)

    def __getitem__(self, key):
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)

    @property
    def size_files(self):
        return [self._sizes.get(path, 0) for path in self]
