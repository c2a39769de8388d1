"""Event families: each source has one module with one subclass of Touchpoint, and one topic `touchline.<source>`."""

from schemas.records.families.crm import Crm
from schemas.records.families.erp import Erp
from schemas.records.families.feedback import Feedback
from schemas.records.families.inventory import Inventory
from schemas.records.families.social import Social
from schemas.records.families.support import Support
from schemas.records.families.web import Web
from schemas.records.touchpoint import Touchpoint

FAMILIES: dict[str, type[Touchpoint]] = {
    "crm": Crm,
    "erp": Erp,
    "inventory": Inventory,
    "support": Support,
    "feedback": Feedback,
    "social": Social,
    "web": Web,
}
