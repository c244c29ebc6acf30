#!/bin/sh
# The entry point of the image ipfailover/keepalived, for manifests that name it.
exec ipfailover-agent run "$@"
