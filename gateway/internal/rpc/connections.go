package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/passerelle/passerelle/gateway/peer"
)

const (
	// maxConnections bounds the connections of one neighbour: replicas, and one
	// connection that ends while the next begins.
	maxConnections = 16

	// endGrace is how long the connection of an ended federation stays, so that
	// its calls can be told so.
	endGrace = 2 * time.Second
)

// Errors of a handshake. They are for our own log: the other end sees a closed
// connection.
var (
	errConnections = errors.New("rpc: too many connections of one neighbour")
	errNotTLS      = errors.New("rpc: connection without TLS")
)

// federated are transport credentials that know which connections belong to which
// neighbour: they bound their number, and close them when the federation ends.
// Ending calls is not enough: a neighbour that does not read would keep a stream
// open for as long as it likes.
type federated struct {
	credentials.TransportCredentials
	federation Federation
	counts     *connectionCounts
}

type connectionCounts struct {
	mu  sync.Mutex
	per map[string]int
}

func (c *connectionCounts) add(td string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.per[td] >= maxConnections {
		return false
	}
	c.per[td]++
	return true
}

func (c *connectionCounts) remove(td string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.per[td]--; c.per[td] == 0 {
		delete(c.per, td)
	}
}

// ServerHandshake implements credentials.TransportCredentials.
func (f *federated) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := f.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	id, err := gatewayOf(info)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	if !f.counts.add(id.TrustDomain) {
		conn.Close()
		return nil, nil, errConnections
	}
	c := &countedConn{Conn: conn, closed: make(chan struct{}), remove: func() { f.counts.remove(id.TrustDomain) }}
	done := f.federation.Done(id.TrustDomain)
	go func() {
		select {
		case <-done:
		case <-c.closed:
			return
		}
		timer := time.NewTimer(endGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.Close()
		case <-c.closed:
		}
	}()
	return c, info, nil
}

// Clone implements credentials.TransportCredentials.
func (f *federated) Clone() credentials.TransportCredentials {
	return &federated{f.TransportCredentials.Clone(), f.federation, f.counts}
}

// A countedConn says when it is closed.
type countedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
	remove func()
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.remove()
	})
	return c.Conn.Close()
}

// gatewayOf returns the ID of the gateway at the other end of a connection.
func gatewayOf(info credentials.AuthInfo) (peer.ID, error) {
	t, ok := info.(credentials.TLSInfo)
	if !ok || len(t.State.PeerCertificates) == 0 {
		return peer.ID{}, errNotTLS
	}
	s, err := peer.IDFromCertificate(t.State.PeerCertificates[0])
	if err != nil {
		return peer.ID{}, err
	}
	id, err := peer.ParseID(s)
	if err != nil {
		return peer.ID{}, err
	}
	if id.Kind != peer.KindGateway {
		return peer.ID{}, fmt.Errorf("%w: not a gateway", peer.ErrID)
	}
	return id, nil
}

// peerOf returns the ID of the gateway that makes the call of ctx.
func peerOf(ctx context.Context) (peer.ID, error) {
	info, ok := tlsInfo(ctx)
	if !ok {
		return peer.ID{}, errNotTLS
	}
	return gatewayOf(info)
}
