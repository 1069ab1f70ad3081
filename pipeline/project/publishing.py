"""Publishing a folder: it appears complete, in place of the old one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import DataError
from lake.files.publishing import replace_folder, require_place
from pipeline.project.project import Project


@contextmanager
def published_folder(target: Path, draft: Path) -> Iterator[Path]:
    """Fill the folder ``draft``, which takes the place of ``target`` when the block ends well."""
    draft.mkdir(parents=True, exist_ok=True)
    yield draft
    replace_folder(target, draft)


def require_places(project: Project, slice_name: str | None) -> None:
    """Refuse, before any work, folders that could not be published: by rename, or by DVC.

    DVC writes a `.gitignore` next to what it caches, and refuses a folder that is a link out of the repository.
    """
    root, repository = project.data, project.folder.resolve()
    for folder in (root.local, root.checkpoints("any").parent, root.grid("any").parent):
        if folder.is_symlink() and (repository / ".dvc").is_dir() and not folder.resolve().is_relative_to(repository):
            raise DataError(
                f"{folder} is a link out of the repository, which DVC refuses: make it a folder, and have links inside "
                "it (data/lake, data/work, data/cutouts, data/survey) point to the other disk"
            )
    places = [root.cutouts, root.survey, root.truth, root.report, root.metrics, root.plots]
    if slice_name is not None:
        places += [root.checkpoints(slice_name), root.grid(slice_name)]
    for place in places:
        require_place(place)
