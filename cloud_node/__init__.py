"""Cloud tier: holds browsers, delivers, reports.  Nobody imports it; it imports store/ and proto/ only."""

import warnings

# eventlet says at each import that it only gets bug fixes.  We know: docs/adr/0004-eventlet.md.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
