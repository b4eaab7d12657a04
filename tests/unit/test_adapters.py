from typing import Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from workd_tasks import adapters


class Folder(BaseModel):
    name: str
    folders: list["Folder"] = Field(default_factory=list)


def test_no_two_adapters_of_a_model_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two aliases with one name and, the first being gone, one address, the second is refused as a circle."""
    names: list[str] = []

    def noted(name: str, value: Any) -> TypeAliasType:
        names.append(name)
        return TypeAliasType(name, value)

    monkeypatch.setattr(adapters, "TypeAliasType", noted)
    for _ in range(3):
        folder = adapters.adapter_of(Folder).validate_json(b'{"name":"a","folders":[{"name":"b"}]}')
        assert folder.folders[0].name == "b"
    assert len(set(names)) == 3
