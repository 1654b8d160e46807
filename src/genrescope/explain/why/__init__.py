"""Why a recogniser gives a track a genre: what spoke for it, whether that is true, and the page."""
