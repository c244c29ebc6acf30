#!/usr/bin/env -S --block-signal=TERM --block-signal=INT --block-signal=HUP --block-signal=USR1 sh
# The entry point of the image ipfailover/keepalived, for manifests that name it. Signals wait until
# the agent can answer them, see the Dockerfile.
exec ipfailover-agent run "$@"
