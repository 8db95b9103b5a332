#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The node: PID 1 of the cluster's own mount, network, PID, IPC and UTS namespaces. It sets up mounts, network and
# cgroups, starts each component with its log in $NODE_DIR/log, then reaps. When it is killed, the kernel ends
# everything else: every process, mount and interface.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
mkdir -p "$LOG" "$CONF" "$NODE_DIR"/{etcd,containerd,kubelet,cni,varlog,cni-conf,certs.d,stick}

# --- mounts: a private /run, and the paths that components have built in.
# Shared within this namespace, so that a mount made later (a stick) reaches Pods that ask for HostToContainer.
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /var/lib/kubelet /var/lib/cni
mount --bind "$NODE_DIR/kubelet" /var/lib/kubelet
mount --bind "$NODE_DIR/cni" /var/lib/cni
mount --bind "$NODE_DIR/varlog" /var/log
# The node asks the cluster's own DNS, so that containerd finds a registry by its Service's name.
printf 'nameserver %s\nsearch cluster.local\noptions ndots:5\n' "$NODE_IP" >"$CONF/node-resolv.conf"
mount --bind "$CONF/node-resolv.conf" /etc/resolv.conf
hostname "$NODE"

# --- network: no link to outside. A bridge without ports carries the node's address and the default route, so that
# lookups succeed and packets go nowhere.
ip link set lo up
ip link add node0 type bridge
ip addr add "$NODE_IP/24" dev node0
ip link set node0 up
ip route add default dev node0
sysctl -qw net.ipv4.ip_forward=1

# --- cgroups: a subtree of our own
cgroups=/sys/fs/cgroup
if [ -e "$cgroups/cgroup.controllers" ]; then # version 2
	mkdir -p "$cgroups/$CGROUP"
	for folder in "$cgroups" "$cgroups/$CGROUP"; do
		for controller in $(<"$folder/cgroup.controllers"); do
			echo "+$controller" >"$folder/cgroup.subtree_control" 2>/dev/null || true
		done
	done
	for controller in cpu memory pids; do
		grep -qw "$controller" "$cgroups/$CGROUP/cgroup.subtree_control" || {
			echo "cgroup controller $controller cannot be used in $cgroups/$CGROUP" >&2
			exit 1
		}
	done
else # version 1: one hierarchy for each
	for hierarchy in "$cgroups"/*/; do
		mkdir -p "$hierarchy$CGROUP" 2>/dev/null || continue
		if [ -e "$hierarchy$CGROUP/cpuset.cpus" ]; then
			cat "${hierarchy}cpuset.cpus" >"$hierarchy$CGROUP/cpuset.cpus"
			cat "${hierarchy}cpuset.mems" >"$hierarchy$CGROUP/cpuset.mems"
		fi
	done
fi

# --- containerd
snapshotter=overlayfs
# An overlay cannot lie on another one, as inside of a container.
[ "$(stat -f -c %T "$NODE_DIR")" != overlayfs ] || snapshotter=native
cat >"$CONF/containerd.toml" <<T
version = 3
root = "$NODE_DIR/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "$snapshotter"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "$PAUSE_IMAGE"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "$NODE_DIR/certs.d" # HOST/hosts.toml, read anew for every pull
[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE, runc could not set the sandbox's -998.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$CNI_BIN"]
    conf_dir = "$NODE_DIR/cni-conf"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
T
cat >"$NODE_DIR/cni-conf/10-bridge.conflist" <<J
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_NET"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni-ipam"}}]}
J

# --- kubelet and kube-proxy
printf 'nameserver %s\nsearch svc.cluster.local cluster.local\n' "$DNS_IP" >"$CONF/resolv.conf"
cat >"$CONF/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_IP
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-serving.crt
tlsPrivateKeyFile: $PKI/kubelet-serving.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
resolvConf: $CONF/resolv.conf
clusterDomain: cluster.local
clusterDNS: [$DNS_IP]
volumePluginDir: $NODE_DIR/volume-plugins
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", memory.available: "100Mi"}
imageGCHighThresholdPercent: 100
syncFrequency: 10s
nodeStatusUpdateFrequency: 2s
configMapAndSecretChangeDetectionStrategy: Watch
Y
# The limits of conntrack are not this namespace's to set. With the default minSyncPeriod of 1 s, a Service may refuse
# connections for a second after its Pod is Ready.
cat >"$CONF/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_NET
hostnameOverride: $NODE
clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
bindAddress: 127.0.0.1
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [primary]
nftables: {minSyncPeriod: 100ms, syncPeriod: 30s}
Y
cat >"$CONF/Corefile" <<D
.:53 {
  bind $NODE_IP
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $PKI/admin.kubeconfig
  }
  cache 5
}
D

cp "$HERE/audit.yaml" "$CONF"

start() { # NAME COMMAND...; a test that killed it starts it again with: sh -c "exec $(cat log/NAME.cmd)"
	local name=$1
	shift
	printf '%q ' "$@" >"$LOG/$name.cmd"
	"$@" >"$LOG/$name.log" 2>&1 </dev/null &
	echo $! >"$LOG/$name.pid"
}
answers() { # URL: until it answers 200, 120 s at most
	for _ in $(seq 1200); do
		curl -fsk --max-time 2 -o /dev/null --cert "$PKI/admin.crt" --key "$PKI/admin.key" "$1" 2>/dev/null && return
		sleep 0.1
	done
	echo "no answer from $1" >&2
	return 1
}

start containerd containerd --config "$CONF/containerd.toml"
start etcd kube etcd --name e --data-dir "$NODE_DIR/etcd" --unsafe-no-fsync \
	--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
	--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
	--initial-cluster e=http://127.0.0.1:2380
start kube-apiserver kube kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
	--bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_IP" \
	--client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
	--kubelet-client-certificate="$PKI/apiserver-kubelet.crt" --kubelet-client-key="$PKI/apiserver-kubelet.key" \
	--kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local \
	--service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
	--service-cluster-ip-range="$SERVICE_NET" --authorization-mode=Node,RBAC \
	--enable-admission-plugins=NodeRestriction --allow-privileged=true \
	--audit-policy-file="$CONF/audit.yaml" --audit-log-path="$LOG/audit.json" --audit-log-maxsize=200

for _ in $(seq 600); do
	ctr version >/dev/null 2>&1 && break
	sleep 0.1
done
(for archive in "$IMAGES"/*.tar; do ctr -n k8s.io images import --snapshotter "$snapshotter" "$archive"; done) >"$LOG/import.log" 2>&1 &
import=$!
answers https://127.0.0.1:6443/readyz
start kube-controller-manager kube kube-controller-manager --kubeconfig="$PKI/controller-manager.kubeconfig" \
	--bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials \
	--service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
	--cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key"
start kube-scheduler kube kube-scheduler --kubeconfig="$PKI/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
start kubelet kube kubelet --config="$CONF/kubelet.yaml" --kubeconfig="$PKI/kubelet.kubeconfig" \
	--hostname-override="$NODE" --node-ip="$NODE_IP"
start kube-proxy kube kube-proxy --config="$CONF/proxy.yaml"
start coredns coredns -conf "$CONF/Corefile"
kube kubectl --kubeconfig "$PKI/admin.kubeconfig" --cache-dir "$NODE_DIR/kubectl" apply -f "$HERE/dns.yaml" >>"$LOG/import.log" 2>&1
wait $import
touch "$NODE_DIR/started"
while :; do
	wait || true
	sleep 1
done
