"""The event families: one module per source, each with one subclass of Touchpoint, and one topic `touchline.<source>`."""

from schemas.families.crm import Crm
from schemas.families.erp import Erp
from schemas.families.feedback import Feedback
from schemas.families.inventory import Inventory
from schemas.families.social import Social
from schemas.families.support import Support
from schemas.families.web import Web
from schemas.touchpoint import Touchpoint

FAMILIES: dict[str, type[Touchpoint]] = {
    "crm": Crm,
    "erp": Erp,
    "inventory": Inventory,
    "support": Support,
    "feedback": Feedback,
    "social": Social,
    "web": Web,
}
