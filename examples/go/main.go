// A client of a veilface server in Go: lists galleries and what is in one, searches it with an encrypted probe from a
// file, and reads the details of refusals. It has no key, and prints one line of JSON. README.md says how to build it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"time"

	protov1 "github.com/golang/protobuf/proto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	veilfacev1 "veilface.dev/gen/veilface/v1"
)

// Does not compile with golang/protobuf 1.3, with which gRPC would panic at the first oneof of a message that
// protoc-gen-go 1.20 or later made.
var _ = protov1.MessageV2

const (
	patience = 30 * time.Second
	// No message of the contract is longer than 1 MiB and its framing.
	maxMessageBytes = 2 << 20
)

type result struct {
	Version       string    `json:"version"`
	Galleries     []string  `json:"galleries"`
	Subjects      int       `json:"subjects"`
	Templates     int       `json:"templates"`
	Changes       int       `json:"changes"`
	RosterChanges int       `json:"roster_changes"`
	Revision      int64     `json:"revision"`
	Blocks        []block   `json:"blocks"`
	Refusals      []refusal `json:"refusals"`
}

// What a search answers for one block: the ciphertext itself is for whoever has the key.
type block struct {
	Block  int64  `json:"block"`
	Stride int32  `json:"stride"`
	Sha256 string `json:"sha256"`
}

type refusal struct {
	Code   uint32   `json:"code"`
	Reason string   `json:"reason"`
	Domain string   `json:"domain"`
	Fields []string `json:"fields"`
}

type client struct {
	server    veilfacev1.ServerServiceClient
	galleries veilfacev1.GalleryServiceClient
	matching  veilfacev1.MatchingServiceClient
}

func main() {
	if len(os.Args) != 4 && len(os.Args) != 5 {
		fail(errors.New("usage: search SERVER GALLERY PROBE_FILE [PAGE_SIZE]"))
	}
	pageSize := 100
	if len(os.Args) == 5 {
		var err error
		if pageSize, err = strconv.Atoi(os.Args[4]); err != nil {
			fail(fmt.Errorf("PAGE_SIZE: %w", err))
		}
	}
	found, err := run(os.Args[1], os.Args[2], os.Args[3], int32(pageSize))
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

func fail(err error) {
	if refused := refusalOf(err); refused.Reason != "" {
		err = fmt.Errorf("the server refused: %s: %s %v", refused.Reason, status.Convert(err).Message(), refused.Fields)
	}
	fmt.Fprintf(os.Stderr, "search: %v\n", err)
	os.Exit(1)
}

func run(server, galleryID, probeFile string, pageSize int32) (*result, error) {
	probe, err := readProbe(probeFile)
	if err != nil {
		return nil, err
	}
	connection, err := grpc.Dial(server, security(server))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	c := client{
		server:    veilfacev1.NewServerServiceClient(connection),
		galleries: veilfacev1.NewGalleryServiceClient(connection),
		matching:  veilfacev1.NewMatchingServiceClient(connection),
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	found := &result{}
	if err := c.list(ctx, galleryID, pageSize, found); err != nil {
		return nil, err
	}
	if err := c.search(ctx, galleryID, probe, found); err != nil {
		return nil, err
	}
	return found, c.provoke(ctx, found)
}

// Plain text inside this machine, TLS with the system's certificates to another one.
func security(server string) grpc.DialOption {
	host, _, _ := net.SplitHostPort(server)
	if address := net.ParseIP(host); host == "localhost" || address != nil && address.IsLoopback() {
		return grpc.WithInsecure()
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(nil))
}

// Everything that can be listed, page by page.
func (c client) list(ctx context.Context, galleryID string, pageSize int32, found *result) error {
	info, err := c.server.GetServerInfo(ctx, &veilfacev1.GetServerInfoRequest{})
	if err != nil {
		return err
	}
	found.Version = info.ServerInfo.Version
	err = eachPage(func(token string) (string, error) {
		request := &veilfacev1.ListGalleriesRequest{PageSize: pageSize, PageToken: token}
		page, err := c.galleries.ListGalleries(ctx, request)
		for _, gallery := range page.GetGalleries() {
			found.Galleries = append(found.Galleries, gallery.GalleryId)
		}
		return page.GetNextPageToken(), err
	})
	if err != nil {
		return err
	}
	err = eachPage(func(token string) (string, error) {
		request := &veilfacev1.ListSubjectsRequest{GalleryId: galleryID, PageSize: pageSize, PageToken: token}
		page, err := c.galleries.ListSubjects(ctx, request)
		found.Subjects += len(page.GetSubjects())
		return page.GetNextPageToken(), err
	})
	if err != nil {
		return err
	}
	err = eachPage(func(token string) (string, error) {
		request := &veilfacev1.ListTemplatesRequest{GalleryId: galleryID, PageSize: pageSize, PageToken: token}
		page, err := c.galleries.ListTemplates(ctx, request)
		found.Templates += len(page.GetEntries())
		return page.GetNextPageToken(), err
	})
	if err != nil {
		return err
	}
	return eachPage(func(token string) (string, error) {
		request := &veilfacev1.ListTemplateChangesRequest{GalleryId: galleryID, PageSize: pageSize, PageToken: token}
		page, err := c.galleries.ListTemplateChanges(ctx, request)
		found.Changes += len(page.GetEntries())
		return page.GetNextPageToken(), err
	})
}

// Reads pages until one has no token of a next one.
func eachPage(read func(token string) (next string, err error)) error {
	for token := ""; ; {
		next, err := read(token)
		if err != nil || next == "" {
			return err
		}
		token = next
	}
}

// One search: the target goes first, and the gallery comes back, whose strides say at which the probe is needed; then
// the probe, and meanwhile the roster's changes; then the distances, one message a block.
func (c client) search(ctx context.Context, galleryID string, probe []*veilfacev1.ProbePieces, found *result) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.matching.SearchGallery(ctx)
	if err != nil {
		return err
	}
	// An empty state: all of the roster is asked for.
	target := &veilfacev1.SearchTarget{GalleryId: galleryID, Roster: &veilfacev1.RosterState{}}
	request := &veilfacev1.SearchGalleryRequest{Message: &veilfacev1.SearchGalleryRequest_Target{Target: target}}
	// Why a call ended is told by Recv: Send says io.EOF then.
	if err := stream.Send(request); err != nil && err != io.EOF {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	gallery := first.GetGallery()
	if gallery == nil {
		return errors.New("the first answer of a search is not the gallery")
	}
	if err := checkStrides(gallery.Strides, probe); err != nil {
		return err
	}
	// The answers are read while the probe is sent: neither side then waits for the other.
	go send(stream, probe)
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			sort.Slice(found.Blocks, func(i, j int) bool { return found.Blocks[i].Block < found.Blocks[j].Block })
			return nil
		}
		if err != nil {
			return err
		}
		switch message := answer.Message.(type) {
		case *veilfacev1.SearchGalleryResponse_RosterChanges:
			found.RosterChanges += len(message.RosterChanges.Entries)
		case *veilfacev1.SearchGalleryResponse_Start:
			found.Revision = message.Start.Revision
		case *veilfacev1.SearchGalleryResponse_Distances:
			answered, err := blockOf(message.Distances)
			if err != nil {
				return err
			}
			found.Blocks = append(found.Blocks, answered)
		}
	}
}

func send(stream veilfacev1.MatchingService_SearchGalleryClient, probe []*veilfacev1.ProbePieces) {
	for _, pieces := range probe {
		request := &veilfacev1.SearchGalleryRequest{Message: &veilfacev1.SearchGalleryRequest_Pieces{Pieces: pieces}}
		if stream.Send(request) != nil {
			return
		}
	}
	stream.CloseSend()
}

func checkStrides(needed []int32, probe []*veilfacev1.ProbePieces) error {
	has := map[int32]bool{}
	for _, message := range probe {
		for _, piece := range message.Pieces {
			has[piece.Stride] = true
		}
	}
	for _, stride := range needed {
		if !has[stride] {
			return fmt.Errorf("the gallery has blocks of stride %d, at which the file has no probe", stride)
		}
	}
	return nil
}

func blockOf(distances *veilfacev1.EncryptedDistances) (block, error) {
	if distances.Refused != veilfacev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return block{}, fmt.Errorf("block %d could not be compared: %v", distances.Block, distances.Refused)
	}
	digest := sha256.Sum256(distances.GetCiphertext().GetData())
	if !bytes.Equal(digest[:], distances.GetCiphertext().GetSha256()) {
		return block{}, fmt.Errorf("the answer of block %d is damaged", distances.Block)
	}
	return block{distances.Block, distances.Stride, hex.EncodeToString(digest[:])}, nil
}

// Two calls that every server refuses, and what it says.
func (c client) provoke(ctx context.Context, found *result) error {
	_, unknown := c.galleries.GetGallery(ctx, &veilfacev1.GetGalleryRequest{GalleryId: "there-is-no-such-gallery"})
	_, negative := c.galleries.ListGalleries(ctx, &veilfacev1.ListGalleriesRequest{PageSize: -1})
	for _, err := range []error{unknown, negative} {
		if err == nil {
			return errors.New("a call was answered that should have been refused")
		}
		found.Refusals = append(found.Refusals, refusalOf(err))
	}
	return nil
}

// What the google.rpc.Status in a refusal's trailer grpc-status-details-bin says.
func refusalOf(err error) refusal {
	refused := refusal{Code: uint32(status.Code(err)), Fields: []string{}}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refused.Reason, refused.Domain = detail.Reason, detail.Domain
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				refused.Fields = append(refused.Fields, violation.Field)
			}
		}
	}
	return refused
}

// ProbePieces, each after its length as a varint: as they are sent.
func readProbe(path string) ([]*veilfacev1.ProbePieces, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	var probe []*veilfacev1.ProbePieces
	for {
		length, err := binary.ReadUvarint(reader)
		if err == io.EOF && len(probe) > 0 {
			return probe, nil
		}
		if err != nil || length > maxMessageBytes {
			return nil, fmt.Errorf("%s is not a file of probe pieces", path)
		}
		data, pieces := make([]byte, length), &veilfacev1.ProbePieces{}
		if _, err := io.ReadFull(reader, data); err != nil {
			return nil, fmt.Errorf("%s ends within a message", path)
		}
		if err := proto.Unmarshal(data, pieces); err != nil {
			return nil, fmt.Errorf("%s is not a file of probe pieces: %w", path, err)
		}
		probe = append(probe, pieces)
	}
}
