"""What all sections of `study.toml` share."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section that cannot be changed once made and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True)
