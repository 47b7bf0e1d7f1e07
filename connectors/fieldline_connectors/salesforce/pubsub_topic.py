"""What an administrator writes about the changes to listen to."""

from typing import Self

from pydantic import Field, model_validator

from fieldline_connectors.salesforce.config import ApiName
from fieldline_core.ports import Topic

_CUSTOM = "__c"


class SalesforceTopic(Topic):
    """What is listened to: the changes of an object's records, or a platform event that names a record."""

    object: ApiName | None = Field(None, examples=["Lead"])
    """Object whose records are created, changed or undeleted; Setup > Change Data Capture must have it selected."""
    channel: str | None = Field(None, pattern=r"^/event/[A-Za-z]\w{0,120}__(e|chn)$", examples=["/event/Lead_Scored__e"])
    """Platform event, or channel of such, instead of an object."""
    key: ApiName | None = None
    """For a platform event: the field that holds the record's key."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.object is None) == (self.channel is None):
            raise ValueError("give either `object`, for its change events, or `channel`, for a platform event")
        if (self.channel is None) != (self.key is None):
            raise ValueError("`key` belongs to `channel`: the field of the platform event that holds the record's key")
        return self

    @property
    def address(self) -> str:
        """The topic's name in the Pub/Sub API."""
        if self.channel is not None:
            return self.channel
        name = str(self.object)
        return f"/data/{name[:-1]}ChangeEvent" if name.endswith(_CUSTOM) else f"/data/{name}ChangeEvent"
