"""Settings of one account of an OData server."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from connectors.mapping.record_mapping import StreamMapping
from connectors.settings import SourceSettings

Property = str
EDM = Literal["DateTimeOffset", "DateTime", "Date"]


class EntitySet(BaseModel):
    """One entity set, read in the order of `changed` and `key`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(pattern="^/", description="Path of the entity set below `url`.")
    key: Property = Field(description="The only key property, which must be a string.")
    changed: Property = Field(description="Property with the time of the last change.")
    type: EDM = Field(
        default="DateTimeOffset", description="Edm type of `changed`; `Date` in OData 2 is an Edm.DateTime at midnight."
    )
    expand: dict[Property, list[Property]] = Field(default={}, description="Navigations to expand, with the properties to read.")
    fields: list[Property] = Field(default=[], description="Further properties to read; they become attributes.")
    mapping: StreamMapping | None = Field(default=None, description="Mapping of the rows. Default: the entry of `mapping.yaml`.")

    @model_validator(mode="after")
    def _check_mapping(self) -> Self:
        key, time = f"id({self.key})", f"iso({self.changed}, 'UTC')"
        if self.mapping and (self.mapping.key, self.mapping.time) != (key, time):
            raise ValueError(f"the mapping's key must be {key} and its time {time}, because the entity set is sorted by them")
        return self


BUILT_IN = {
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
    """Settings of the `odata` connector."""

    odata: Literal[2, 4] = Field(default=2, description="Version of OData.")
    username: str = Field(description="Communication user, or OAuth 2.0 client id if `token_url` is set.")
    password: SecretStr = Field(description="Password or client secret of `username`; only from the environment.")
    token_url: str | None = Field(
        default=None, description="Token endpoint of OAuth 2.0 client credentials: an address, or a path on the same host."
    )
    client: str | None = Field(
        default=None, pattern="^[0-9]{3}$", description="SAP client of three digits, sent as `sap-client`."
    )
    page: int = Field(default=500, ge=1, le=2_000, description="Rows per request.")
    streams: dict[str, EntitySet | None] = Field(
        default={"sales_orders": None}, min_length=1, description="Streams by name; a built-in stream needs no value."
    )

    @field_validator("streams")
    @classmethod
    def _check_streams(cls, streams: dict[str, EntitySet | None]) -> dict[str, EntitySet | None]:
        for name, given in streams.items():
            if name not in BUILT_IN and given is None:
                raise ValueError(f"{name}: not one of {', '.join(BUILT_IN)}, so it needs path, key, changed, mapping")
            if name not in BUILT_IN and given is not None and given.mapping is None:
                raise ValueError(f"{name}: needs a mapping, see connectors/mapping/record_mapping.py")
        return streams

    def list_entity_sets(self) -> dict[str, EntitySet]:
        """Return the entity set of each stream."""
        return {name: given or BUILT_IN[name] for name, given in self.streams.items()}
