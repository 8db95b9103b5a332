#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the cluster's authority, certificates and kubeconfigs in $NODE_DIR/pki.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
umask 077
mkdir -p "$PKI" && cd "$PKI"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

authority() { # NAME
	openssl req -x509 "${new_key[@]}" -days 3650 -subj "/CN=$1" -keyout "$1.key" -out "$1.crt" 2>/dev/null
}
leaf() { # NAME SUBJECT [ALTERNATIVE-NAMES]
	openssl req "${new_key[@]}" -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
	printf 'keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}" >"$1.ext"
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
	rm "$1.csr" "$1.ext"
}
kubeconfig() { # NAME: with the certificate of that name
	cat >"$1.kubeconfig" <<-Y
	apiVersion: v1
	kind: Config
	clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
	users: [{name: u, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
	contexts: [{name: x, context: {cluster: c, user: u}}]
	current-context: x
	Y
}

authority ca
api=kubernetes.default.svc
leaf apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:$api,DNS:$api.cluster.local,IP:127.0.0.1,IP:$NODE_IP,IP:$API_IP"
leaf apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet
leaf kubelet-serving "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$NODE_IP"
leaf admin /O=system:masters/CN=admin
leaf kubelet "/O=system:nodes/CN=system:node:$NODE"
leaf controller-manager /CN=system:kube-controller-manager
leaf scheduler /CN=system:kube-scheduler
leaf proxy /CN=system:kube-proxy
for user in admin kubelet controller-manager scheduler proxy; do kubeconfig $user; done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key 2>/dev/null
openssl pkey -in sa.key -pubout -out sa.pub 2>/dev/null
