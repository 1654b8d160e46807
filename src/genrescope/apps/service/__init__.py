"""The recogniser as a service: ``genrescope serve``.

>>> from genrescope.apps.service import Settings, create_app
>>> app = create_app(Settings(), pages=False)
>>> app.state.genrescope.recogniser.genres[0]
'Electronic'
"""

from genrescope.apps.service.app import create_app
from genrescope.apps.service.service import Service
from genrescope.apps.service.settings import Settings

__all__ = ["Service", "Settings", "create_app"]
