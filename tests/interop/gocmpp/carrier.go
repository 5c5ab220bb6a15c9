package main

import (
	"crypto/md5"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	cmpp "github.com/bigwhite/gocmpp"
	cmpputils "github.com/bigwhite/gocmpp/utils"
)

type served struct {
	Logins          int `json:"logins"`
	Submits         int `json:"submits"`
	Reports         int `json:"reports"`
	ReportsAnswered int `json:"reports_answered"`
	Replies         int `json:"replies"`
	RepliesAnswered int `json:"replies_answered"`
	Terminated      int `json:"closed_terminated"`
}

// end is a carrier's end: one account, and what was seen of it. Ids of reports and replies tell their answers apart.
type end struct {
	mutex           sync.Mutex
	counts          served
	version         string
	account, secret string
	replyText       string
	refuse, reply   int
	next            uint64
	replies         map[uint64]bool
}

func (e *end) identity() uint64 {
	e.next++
	return uint64(time.Now().Month())<<60 | uint64(time.Now().Day())<<55 | 7<<16 | e.next
}

// deliver sends before the library sends the answer to the submit, which it does after its handlers: such early
// reports are what carriers send when they are busy.
func (e *end) deliver(conn *cmpp.Conn, id uint64, from, to, content string, registered, format uint8) error {
	var packet cmpp.Packer = &cmpp.Cmpp2DeliverReqPkt{
		MsgId: id, DestId: to, SrcTerminalId: from, RegisterDelivery: registered, MsgFmt: format,
		MsgLength: uint8(len(content)), MsgContent: content,
	}
	if e.version == "30" {
		packet = &cmpp.Cmpp3DeliverReqPkt{
			MsgId: id, DestId: to, SrcTerminalId: from, RegisterDelivery: registered, MsgFmt: format,
			MsgLength: uint8(len(content)), MsgContent: content,
		}
	}
	return conn.SendPkt(packet, <-conn.SeqId)
}

// submit says the id and result of one submit, after its report and its reply were sent.
func (e *end) submit(conn *cmpp.Conn, from, to string, wantsReport bool) (uint64, uint8, error) {
	e.counts.Submits++
	id := e.identity()
	if e.refuse > 0 && e.counts.Submits%e.refuse == 0 {
		return id, 9, nil
	}
	if wantsReport {
		minute := time.Now().Format("0601021504")
		report := &cmpp.CmppReceiptPkt{
			MsgId: id, Stat: "DELIVRD", SubmitTime: minute, DoneTime: minute, DestTerminalId: to,
		}
		content, err := report.Pack()
		if err != nil {
			return id, 0, err
		}
		e.counts.Reports++
		if err := e.deliver(conn, e.identity(), to, from, string(content), 1, 0); err != nil {
			return id, 0, err
		}
	}
	if e.reply > 0 && e.counts.Submits%e.reply == 0 {
		text, err := cmpputils.Utf8ToUcs2(e.replyText)
		if err != nil {
			return id, 0, err
		}
		reply := e.identity()
		e.replies[reply] = true
		e.counts.Replies++
		return id, 0, e.deliver(conn, reply, to, from, text, 0, 8)
	}
	return id, 0, nil
}

func (e *end) answered(id uint64) {
	if e.replies[id] {
		e.counts.RepliesAnswered++
	} else {
		e.counts.ReportsAnswered++
	}
}

func text(field string) string { return strings.TrimRight(field, "\x00") }

func (e *end) login(request *cmpp.CmppConnReqPkt, answer cmpp.Packer) error {
	proof := md5.Sum([]byte(e.account + strings.Repeat("\x00", 9) + e.secret + fmt.Sprintf("%010d", request.Timestamp)))
	status := uint8(0)
	if text(request.SrcAddr) != e.account || request.AuthSrc != string(proof[:]) {
		status = 3
	}
	version := map[string]cmpp.Type{"20": cmpp.V20, "21": cmpp.V21, "30": cmpp.V30}[e.version]
	switch a := answer.(type) {
	case *cmpp.Cmpp2ConnRspPkt:
		a.Status, a.AuthSrc, a.Secret, a.Version = status, request.AuthSrc, e.secret, version
	case *cmpp.Cmpp3ConnRspPkt:
		a.Status, a.AuthSrc, a.Secret, a.Version = uint32(status), request.AuthSrc, e.secret, version
	}
	if status != 0 {
		return cmpp.ConnRspStatusErrMap[status]
	}
	e.counts.Logins++
	return nil
}

func (e *end) serve(response *cmpp.Response, packet *cmpp.Packet, _ *log.Logger) (bool, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	var err error
	switch p := packet.Packer.(type) {
	case *cmpp.CmppConnReqPkt:
		err = e.login(p, response.Packer)
	case *cmpp.Cmpp2SubmitReqPkt:
		answer := response.Packer.(*cmpp.Cmpp2SubmitRspPkt)
		answer.MsgId, answer.Result, err = e.submit(packet.Conn, text(p.SrcId), text(p.DestTerminalId[0]), p.RegisteredDelivery == 1)
	case *cmpp.Cmpp3SubmitReqPkt:
		answer := response.Packer.(*cmpp.Cmpp3SubmitRspPkt)
		var result uint8
		answer.MsgId, result, err = e.submit(packet.Conn, text(p.SrcId), text(p.DestTerminalId[0]), p.RegisteredDelivery == 1)
		answer.Result = uint32(result)
	case *cmpp.Cmpp2DeliverRspPkt:
		e.answered(p.MsgId)
	case *cmpp.Cmpp3DeliverRspPkt:
		e.answered(p.MsgId)
	case *cmpp.CmppTerminateReqPkt:
		e.counts.Terminated++
	}
	return false, err
}

// carrier takes one account's submits, each part by itself, refuses, reports, lets subscribers reply, until SIGTERM.
func carrier(words []string) {
	e := &end{replies: map[uint64]bool{}}
	flags := flag.NewFlagSet("carrier", flag.ExitOnError)
	port := flags.Int("port", 0, "")
	flags.StringVar(&e.version, "version", "20", "20, 21 or 30")
	flags.StringVar(&e.account, "account", "", "")
	flags.StringVar(&e.secret, "secret", "", "")
	flags.IntVar(&e.refuse, "refuse-every", 0, "")
	flags.IntVar(&e.reply, "reply-every", 0, "")
	flags.StringVar(&e.replyText, "reply-text", "R", "one part")
	flags.String("protocol", "cmpp", "the only one")
	_ = flags.Parse(words)

	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	version := map[string]cmpp.Type{"20": cmpp.V20, "21": cmpp.V21, "30": cmpp.V30}[e.version]
	go func() {
		address := fmt.Sprintf("127.0.0.1:%d", *port)
		fail("listening", cmpp.ListenAndServe(address, version, time.Minute, 3, io.Discard, cmpp.HandlerFunc(e.serve)))
	}()
	<-stopped
	e.mutex.Lock()
	if err := json.NewEncoder(os.Stdout).Encode(e.counts); err != nil {
		fail("printing", err)
	}
}
