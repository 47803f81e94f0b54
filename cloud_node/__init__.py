"""Cloud tier: holds browsers, delivers, reports.  Nobody imports it; it imports store/ and proto/ only."""
