"""Makes the environments that are named, where they are not made yet."""

import sys

from deploy.environments import environment

for name in sys.argv[1:]:
    environment(name).prepare()
