// What the sockets of TCP have of their own: how one that listens is made, and how a connection is
// kept. No call blocks.
#pragma once

#include "lib/base/status.h"
#include "lib/base/tcp_address.h"

namespace parkd {

// A socket that listens there (IPv6 alone on an IPv6 address): a descriptor, closed on exec, which
// is the caller's. Errors: invalid or conflict, naming address, errno and the way out.
Result<int> listen_tcp(const TcpAddress& address);

// Where a listening socket is bound: with the port that the kernel chose for 0.
TcpAddress bound_address(int fd);

// Of an accepted connection: small answers do not wait for others, and a peer that is gone without
// a word (its machine, its network) is known to be after some two minutes.
void keep_tcp_connection(int fd);

}  // namespace parkd
