// Serves the sample to SRE, on a Unix socket or with mTLS.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "ledger/contract"
)

func main() {
	socket := flag.String("socket", "", "serve on this Unix socket")
	listen := flag.String("listen", "", "serve on this host:port, with mTLS")
	cert := flag.String("cert", "", "with -listen: this server's certificate, PEM")
	key := flag.String("key", "", "with -listen: its key, PEM")
	ca := flag.String("ca", "", "with -listen: who vouches for callers, PEM")
	allow := flag.String("allow", "", "with -listen: callers' SPIFFE ids, with commas between them")
	file := flag.String("file", "ledger.jsonl", "where entries are kept")
	flag.Parse()
	book, err := Open(*file)
	if err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(16 << 20)}
	var listener net.Listener
	switch {
	case *socket != "":
		_ = os.Remove(*socket) // of an earlier run
		// Whoever can open the socket can use it: only this user can.
		before := syscall.Umask(0o177)
		listener, err = net.Listen("unix", *socket)
		syscall.Umask(before)
	case *listen != "" && *allow != "":
		guard := allowed(strings.Split(*allow, ","))
		options = append(options, grpc.Creds(mutualTLS(*cert, *key, *ca)), grpc.UnaryInterceptor(guard.unary),
			grpc.StreamInterceptor(guard.stream))
		listener, err = net.Listen("tcp", *listen)
	default:
		log.Fatal("write -socket, or -listen with -cert, -key, -ca and -allow")
	}
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(options...)
	pb.RegisterComponentServer(server, &Ledger{book: book})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stopped
		server.GracefulStop()
	}()
	fmt.Println("serving on", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func mutualTLS(cert, key, ca string) credentials.TransportCredentials {
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		log.Fatal("-ca holds no certificate: ", err)
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13,
	})
}

// allowed are the callers whose certificate is good enough. Any certificate of the trust domain passes the handshake,
// so this is what keeps other services and agents out.
type allowed []string

func (them allowed) check(ctx context.Context) error {
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok && info.SPIFFEID != nil {
			for _, one := range them {
				if info.SPIFFEID.String() == one {
					return nil
				}
			}
		}
	}
	return status.Error(codes.PermissionDenied, "this caller is not allowed here")
}

func (them allowed) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := them.check(ctx); err != nil {
		return nil, err
	}
	return next(ctx, request)
}

func (them allowed) stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := them.check(stream.Context()); err != nil {
		return err
	}
	return next(server, stream)
}
