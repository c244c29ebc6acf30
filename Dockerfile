# The image. Builds with docker, podman and buildah, on every architecture Debian has.
#
#   BASE      a Debian image with Python 3.11 or newer: trixie (keepalived 2.3) or bookworm (2.2)
#   VERSION   the agent's version, for the label
#   REVISION  the commit it is built from, for the label
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
# psutil and msgspec are C; ready-made wheels of them exist for these two only.
RUN set -eu; \
    compiler=; \
    case "$(dpkg --print-architecture)" in \
        amd64|arm64) ;; \
        *) compiler="gcc libc6-dev python3-dev" ;; \
    esac; \
    apt-get update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        ca-certificates python3-pip python3-venv $compiler
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY templates templates
COPY ipfailover_agent ipfailover_agent
COPY image/compile_templates.py image/
# The constraints hold for what builds the wheel, too. Byte code is checked against nothing at run
# time: the image cannot change, and a read-only root could not take new byte code.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN set -eu; \
    pip3 wheel --quiet --no-deps --wheel-dir /wheels .; \
    python3 -m venv --without-pip /opt/ipfailover-agent; \
    pip3 --python /opt/ipfailover-agent/bin/python install --quiet --no-compile /wheels/*.whl; \
    cd /opt/ipfailover-agent; \
    rm -rf include bin/activate* bin/Activate* lib/python3*/site-packages/psutil/tests; \
    bin/python -m compileall -q --invalidation-mode unchecked-hash lib; \
    bin/python /src/image/compile_templates.py

FROM ${BASE}
# bash to setpriv: what the agent needs. The rest is for users' own scripts and probes, and is what
# the image ipfailover/keepalived had.
RUN set -eu; \
    apt-get update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        bash ca-certificates curl keepalived nftables python3 util-linux \
        iproute2 ipset kmod net-tools netcat-openbsd procps psmisc; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/* /var/log/*; \
    # 46 MB of Perl modules come with a library for SNMP that keepalived is linked with. Nothing
    # here runs Perl; what Debian's own scripts need is elsewhere, in perl-base.
    rm -rf /usr/share/perl/5* /usr/lib/*-linux-gnu*/perl/5*; \
    # The configuration is written to the run directory: the root can be read-only.
    ln -s /run/ipfailover-agent/keepalived.conf /etc/keepalived/keepalived.conf; \
    # keepalived 2.3 marks its addresses with this number, and would write its name here itself.
    mkdir -p /etc/iproute2/rt_addrprotos.d; \
    printf '18\tkeepalived\n' >/etc/iproute2/rt_addrprotos.d/keepalived.conf; \
    # keepalived 2.3 does not run without this file. Beside the program it is found also when
    # something is mounted on /etc/keepalived.
    if [ -e /etc/keepalived/keepalived.config-opts ]; then \
        cp -p /etc/keepalived/keepalived.config-opts /usr/sbin/; \
    fi
COPY --from=build /opt/ipfailover-agent /opt/ipfailover-agent
COPY image/monitor.sh image/remove-failover.sh /var/lib/ipfailover/keepalived/
COPY image/ready.sh /usr/local/bin/ipfailover-ready
RUN ln -s /opt/ipfailover-agent/bin/ipfailover-agent /usr/local/bin/ipfailover-agent
WORKDIR /var/lib/ipfailover
EXPOSE 1985
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ipfailover-agent" \
      org.opencontainers.image.description="Keeps virtual IP addresses alive on a set of nodes: renders, launches and supervises keepalived" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# The kernel throws away a signal for PID 1 that has no handler yet, and Python takes a while to its
# first line: a pod that is deleted while it starts would become MASTER, and be killed 30 s later. A
# blocked signal waits. No init in front: the agent would not be PID 1, and the init's end would kill
# keepalived before it could say goodbye.
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "--block-signal=HUP", "--block-signal=USR1", "ipfailover-agent", "run"]
