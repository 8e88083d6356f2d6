"""Why a backup was not made or not put back. The texts name what is wrong and the remedy."""


class Refused(Exception):
    """Something that whoever asked can mend: a place, a disk, a file that was given."""


class Damaged(Exception):
    """What the service sent is not whole, or does not verify: nothing of it is kept."""
