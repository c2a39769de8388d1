"""The settings of one account of one OData server."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connectors.mapping.record_mapping import StreamMapping
from connectors.settings import SourceSettings

Property = str
EDM = Literal["DateTimeOffset", "DateTime", "Date"]


class EntitySet(BaseModel):
    """One entity set below `url`, read in the order of `changed`, of the Edm type `type`, and `key`, a string.

    `key` is its only key property. A `Date` of OData 2 is an Edm.DateTime at midnight. `expand` names navigations and what to
    take of each, `fields` what to ask for beyond the mapping's columns. Without a `mapping` it is that of `mapping.yaml`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(pattern="^/")
    key: Property
    changed: Property
    type: EDM = "DateTimeOffset"
    expand: dict[Property, list[Property]] = {}
    fields: list[Property] = []
    mapping: StreamMapping | None = None

    @model_validator(mode="after")
    def _read_by_what_it_is_sorted_by(self) -> Self:
        key, time = f"id({self.key})", f"iso({self.changed}, 'UTC')"
        if self.mapping and (self.mapping.key, self.mapping.time) != (key, time):
            raise ValueError(f"the mapping's key must be {key} and its time {time}, as the entity set is sorted by them")
        return self


SHIPPED = {
    "sales_orders": EntitySet(
        path="/API_SALES_ORDER_SRV/A_SalesOrder",
        key="SalesOrder",
        changed="LastChangeDateTime",
        expand={"to_Item": ["Material"]},
    ),
    "deliveries": EntitySet(
        path="/API_OUTBOUND_DELIVERY_SRV/A_OutbDeliveryHeader",
        key="DeliveryDocument",
        changed="LastChangeDate",
        type="Date",
    ),
}


class ODataSettings(SourceSettings):
    """`password` comes from the environment alone; with a `token_url` the two are an OAuth 2.0 client instead of a user.

    `streams` maps names to entity sets, or to nothing for those of `SHIPPED`.
    """

    odata: Literal[2, 4] = 2
    username: str
    password: SecretStr
    token_url: str | None = None
    client: str | None = Field(default=None, pattern="^[0-9]{3}$")
    page: int = Field(default=500, ge=1, le=2_000)
    streams: dict[str, EntitySet | None] = Field(default={"sales_orders": None}, min_length=1)

    @field_validator("streams")
    @classmethod
    def _each_is_known(cls, streams: dict[str, EntitySet | None]) -> dict[str, EntitySet | None]:
        for name, given in streams.items():
            if name not in SHIPPED and given is None:
                raise ValueError(f"{name}: there are {', '.join(SHIPPED)}; another needs path, key, changed, mapping")
            if name not in SHIPPED and given is not None and given.mapping is None:
                raise ValueError(f"{name}: needs a mapping; connectors/mapping/record_mapping.py says what it holds")
        return streams

    def entity_sets(self) -> dict[str, EntitySet]:
        """The entity set of each stream."""
        return {name: given or SHIPPED[name] for name, given in self.streams.items()}
