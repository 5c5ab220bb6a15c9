// A CMPP sender made of github.com/bigwhite/gocmpp: connects, submits (every third one from a number that is
// to be refused), waits for answers, reports and replies, tests the link, terminates, and prints one JSON line.
// The arguments and the line are those of every peer in tests/interop: see peers.py.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	cmpp "github.com/bigwhite/gocmpp"
	cmpputils "github.com/bigwhite/gocmpp/utils"
)

type counts struct {
	Connected   bool           `json:"connected"`
	Submitted   int            `json:"submitted"`
	Results     map[uint32]int `json:"results"`
	Reports     map[string]int `json:"reports"`
	Replies     []string       `json:"replies"`
	ActiveTests int            `json:"active_tests"`
	Terminated  bool           `json:"terminated"`
}

func (c *counts) answered() int {
	total := 0
	for _, n := range c.Results {
		total += n
	}
	return total
}

func (c *counts) reported() int {
	total := 0
	for _, n := range c.Reports {
		total += n
	}
	return total
}

func fail(doing string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", doing, err)
	os.Exit(1)
}

// contents are what the submits of one text carry: the library splits nothing, so the header of a part is made here.
func contents(text string, reference uint8) []string {
	content, err := cmpputils.Utf8ToUcs2(text)
	if err != nil {
		fail("encoding the text", err)
	}
	if len(content) <= 140 {
		return []string{content}
	}
	total := (len(content) + 133) / 134
	parts := make([]string, total)
	for i := range parts {
		until := (i + 1) * 134
		if until > len(content) {
			until = len(content)
		}
		parts[i] = string([]byte{5, 0, 3, reference, uint8(total), uint8(i + 1)}) + content[i*134:until]
	}
	return parts
}

func submit(version, account, source, destination, content string, part, total uint8) cmpp.Packer {
	udhi := uint8(0)
	if total > 1 {
		udhi = 1
	}
	if version == "30" {
		return &cmpp.Cmpp3SubmitReqPkt{
			PkTotal: total, PkNumber: part, RegisteredDelivery: 1, MsgLevel: 1, ServiceId: "SVC", FeeUserType: 2,
			TpUdhi: udhi, MsgFmt: 8, MsgSrc: account, FeeType: "01", FeeCode: "0", SrcId: source, DestUsrTl: 1,
			DestTerminalId: []string{destination}, MsgLength: uint8(len(content)), MsgContent: content,
		}
	}
	return &cmpp.Cmpp2SubmitReqPkt{
		PkTotal: total, PkNumber: part, RegisteredDelivery: 1, MsgLevel: 1, ServiceId: "SVC", FeeUserType: 2,
		TpUdhi: udhi, MsgFmt: 8, MsgSrc: account, FeeType: "01", FeeCode: "0", SrcId: source, DestUsrTl: 1,
		DestTerminalId: []string{destination}, MsgLength: uint8(len(content)), MsgContent: content,
	}
}

// deliver counts a report or a reply; the part of a long one is told without its header.
func (c *counts) deliver(registered uint8, content string, format uint8, udhi uint8) {
	if registered == 1 {
		report := &cmpp.CmppReceiptPkt{}
		if err := report.Unpack([]byte(content)); err != nil {
			fail("reading a report", err)
		}
		c.Reports[report.Stat]++
		return
	}
	if udhi == 1 {
		content = content[1+int(content[0]):]
	}
	text := content
	if format == 8 {
		text, _ = cmpputils.Ucs2ToUtf8(content)
	}
	c.Replies = append(c.Replies, text)
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "--end" && os.Args[2] == "carrier" {
		carrier(os.Args[3:])
		return
	}
	flag.String("end", "sender", "or carrier")
	host := flag.String("host", "127.0.0.1", "")
	port := flag.Int("port", 7890, "")
	account := flag.String("account", "", "")
	secret := flag.String("secret", "", "")
	version := flag.String("version", "20", "20, 21 or 30")
	source := flag.String("from", "", "number that may send")
	refused := flag.String("refused-from", "", "number that may not")
	text := flag.String("text", "", "")
	messages := flag.Int("messages", 30, "")
	replies := flag.Int("replies", 0, "how many to wait for")
	seconds := flag.Int("seconds", 30, "")
	flag.String("protocol", "cmpp", "the only one")
	parts := flag.Int("parts", 1, "submits of one text")
	flag.Parse()

	client := cmpp.NewClient(map[string]cmpp.Type{"20": cmpp.V20, "21": cmpp.V21, "30": cmpp.V30}[*version])
	if err := client.Connect(fmt.Sprintf("%s:%d", *host, *port), *account, *secret, 5*time.Second); err != nil {
		fail("connecting", err)
	}
	seen := &counts{Connected: true, Results: map[uint32]int{}, Reports: map[string]int{}, Replies: []string{}}
	deadline := time.Now().Add(time.Duration(*seconds) * time.Second)
	outstanding, tested, leaving := 0, false, false
	for !seen.Terminated && time.Now().Before(deadline) {
		for seen.Submitted < *messages && outstanding < 16 {
			from := *source
			if seen.Submitted%3 == 2 {
				from = *refused
			}
			to := fmt.Sprintf("1380000%04d", seen.Submitted)
			carried := contents(*text, uint8(seen.Submitted))
			for i, content := range carried {
				packet := submit(*version, *account, from, to, content, uint8(i+1), uint8(len(carried)))
				if _, err := client.SendReqPkt(packet); err != nil {
					fail("submitting", err)
				}
				outstanding++
			}
			seen.Submitted++
		}
		if !tested && seen.answered() == *messages**parts && seen.reported() == seen.Results[0] && len(seen.Replies) >= *replies {
			if _, err := client.SendReqPkt(&cmpp.CmppActiveTestReqPkt{}); err != nil {
				fail("testing the link", err)
			}
			tested = true
		}
		if seen.ActiveTests > 0 && !leaving {
			if _, err := client.SendReqPkt(&cmpp.CmppTerminateReqPkt{}); err != nil {
				fail("terminating", err)
			}
			leaving = true
		}
		packet, err := client.RecvAndUnpackPkt(time.Until(deadline))
		if err != nil {
			fail(fmt.Sprintf("receiving after %+v", *seen), err)
		}
		switch p := packet.(type) {
		case *cmpp.Cmpp2SubmitRspPkt:
			seen.Results[uint32(p.Result)]++
			outstanding--
		case *cmpp.Cmpp3SubmitRspPkt:
			seen.Results[p.Result]++
			outstanding--
		case *cmpp.Cmpp2DeliverReqPkt:
			seen.deliver(p.RegisterDelivery, p.MsgContent, p.MsgFmt, p.TpUdhi)
			err = client.SendRspPkt(&cmpp.Cmpp2DeliverRspPkt{MsgId: p.MsgId}, p.SeqId)
		case *cmpp.Cmpp3DeliverReqPkt:
			seen.deliver(p.RegisterDelivery, p.MsgContent, p.MsgFmt, p.TpUdhi)
			err = client.SendRspPkt(&cmpp.Cmpp3DeliverRspPkt{MsgId: p.MsgId}, p.SeqId)
		case *cmpp.CmppActiveTestReqPkt:
			err = client.SendRspPkt(&cmpp.CmppActiveTestRspPkt{}, p.SeqId)
		case *cmpp.CmppActiveTestRspPkt:
			seen.ActiveTests++
		case *cmpp.CmppTerminateReqPkt:
			err = client.SendRspPkt(&cmpp.CmppTerminateRspPkt{}, p.SeqId)
		case *cmpp.CmppTerminateRspPkt:
			seen.Terminated = true
		}
		if err != nil {
			fail("answering", err)
		}
	}
	client.Disconnect()
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		fail("printing", err)
	}
}
