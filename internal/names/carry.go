package names

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/memwhy/memwhy/internal/snapshot"
)

const (
	maxAnswer = 16 << 20 // bytes; of 5000 containers some 5 MiB
	maxHeader = 64 << 10
)

// refusal is an answer that says no.
type refusal struct {
	state snapshot.State
	why   string
}

func (r *refusal) Error() string { return r.why }

// carrier carries questions to one source, one at a time.
type carrier struct {
	base   string
	token  string
	client *http.Client
}

func carry(base string, t *http.Transport) *carrier {
	t.Proxy, t.DisableCompression, t.MaxResponseHeaderBytes, t.MaxConnsPerHost = nil, true, maxHeader, 1
	return &carrier{base: base, client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// unix carries over a socket of the node. gRPC needs HTTP/2 from the first byte.
func (a *Asker) unix(path string, grpc bool) (*carrier, error) {
	here, done, err := a.opt.Socket(path)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(a.ctx, func() { _ = done() })
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", here)
	}}
	if grpc {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	c := carry("http://localhost", t)
	context.AfterFunc(a.ctx, c.close)
	return c, nil
}

var errCertificate = errors.New("its certificate is not of a known authority: see --kubelet-ca-file")

// overTLS carries to a kubelet. A token goes to nobody whose certificate the
// authority did not sign; on this very node the certificate need not name the
// address.
func overTLS(endpoint string, k Kubelet) (*carrier, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(k.CA) {
		return nil, &refusal{snapshot.Failed, "no certificate of an authority to check it by: see --kubelet-ca-file"}
	}
	check := x509.VerifyOptions{Roots: roots, DNSName: u.Hostname()}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() || u.Hostname() == "localhost" {
		check.DNSName = ""
	}
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // for VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			check := check
			check.Intermediates = x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				check.Intermediates.AddCert(c)
			}
			if _, err := s.PeerCertificates[0].Verify(check); err != nil {
				return errCertificate
			}
			return nil
		},
	}
	c := carry("https://"+u.Host, &http.Transport{TLSClientConfig: conf})
	c.token = k.Token
	return c, nil
}

func (c *carrier) close() { c.client.CloseIdleConnections() }

// within asks for paths for as long as ctx lets it.
func (c *carrier) within(ctx context.Context) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) { return c.get(ctx, path) }
}

// get is GET; anything but 200 is an error.
func (c *carrier) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	body, _, err := c.do(req)
	return body, err
}

func (c *carrier) do(req *http.Request) ([]byte, *http.Response, error) {
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r := &refusal{snapshot.Failed, fmt.Sprintf("%s: %d %s", req.URL.Path, resp.StatusCode, http.StatusText(resp.StatusCode))}
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			r.state = snapshot.Denied
		}
		return nil, nil, r
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = &refusal{snapshot.Failed, fmt.Sprintf("%s: longer than %d MiB", req.URL.Path, maxAnswer>>20)}
	}
	return body, resp, err
}

// unary is a call of gRPC with one message each way, as
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md has it.
func (c *carrier) unary(ctx context.Context, method string, message []byte) ([]byte, error) {
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+method, bytes.NewReader(append(frame, message...)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	body, resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // an answer without a message
	}
	switch status {
	case "0":
	case "":
		return nil, errors.New("not gRPC")
	case "12":
		return nil, &refusal{snapshot.Absent, "it does not serve CRI v1"}
	case "7", "16":
		return nil, &refusal{snapshot.Denied, method + ": refused"}
	case "5":
		return nil, &refusal{snapshot.Absent, method + ": no such container any more"}
	default:
		return nil, &refusal{snapshot.Failed, fmt.Sprintf("%s: gRPC status %.3q", method, status)}
	}
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:5])) != uint64(len(body)-5) {
		return nil, errors.New("not one message")
	}
	return body[5:], nil
}
