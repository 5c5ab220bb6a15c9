module zhengming/interop/gocmpp

go 1.19

require github.com/bigwhite/gocmpp v0.0.0-20211222141015-e6111341341a

require golang.org/x/text v0.3.0 // indirect
