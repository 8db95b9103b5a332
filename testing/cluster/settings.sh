# SPDX-License-Identifier: Apache-2.0
# Sourced by pki.sh and node.sh. `cargo xtask cluster up` sets, for one cluster:
#   NODE_DIR  the folder of all that it writes
#   BIN       kube, coredns, containerd, containerd-shim-runc-v2, ctr
#   CNI_BIN   the CNI plugins
#   IMAGES    archives that are imported at the start, *.tar
#   CGROUP    the name of its subtree in the cgroup hierarchies
# shellcheck shell=bash disable=SC2034
: "${NODE_DIR:?}" "${BIN:?}" "${CNI_BIN:?}" "${IMAGES:?}" "${CGROUP:?}"
NODE=node-1
NODE_IP=10.0.0.1
POD_NET=10.244.0.0/24
SERVICE_NET=10.96.0.0/16
API_IP=10.96.0.1
DNS_IP=10.96.0.10
PAUSE_IMAGE=krs.test/busybox:1
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PKI=$NODE_DIR/pki
LOG=$NODE_DIR/log
CONF=$NODE_DIR/conf
PATH=$BIN:$PATH:/usr/local/sbin:/usr/sbin:/sbin
# Nothing here is for a proxy.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
