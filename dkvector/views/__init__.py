"""Views of a store: cached, limited, audited, restricted; each is a store itself, so that they can be put together."""

from dkvector.views.audited import Audited, Event
from dkvector.views.cached import Cached
from dkvector.views.limited import Limited, RateLimit
from dkvector.views.restricted import Restricted

__all__ = ["Audited", "Cached", "Event", "Limited", "RateLimit", "Restricted"]
