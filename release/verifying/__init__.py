"""``invoke verify OWNER/NAME@vX``: whether a published release is what it says, for anybody.

Nothing of this machine is asked, and no token is needed for public repos.
"""
