/* loadgen.c - SMS client load generator: SMPP 3.4, CMPP 2.0/3.0, HTTP GET; ours: SMGP 3.0 and SGIP 1.2, submits only. One thread, epoll, pre-encoded PDUs.
 *   gcc -O2 -o loadgen loadgen.c
 *   ./loadgen --proto smpp --port 2775 --conns 4 --window 16 --messages 200000 [--user u --pass p]
 *             [--text ascii|ucs2|gbk|signed] [--senders 1000] [--regdlr] [--rate R] [--max-seconds 60]
 *             [--drain-seconds 20] [--stats FILE] [--from PREFIX] [--systype T]  (a %d in --user or --systype becomes the connection's index) [--label X] [--host-path PATH(HTTP)] [--bind trx|tx]
 * Ours, not for HTTP: --texts FILE (UTF-8, one text of at most 70 characters a line; every second submit carries the next of
 * them, the others the harness's own), --refuse-every N --refuse-from PREFIX (every N-th submit comes from PREFIX, as long
 * as --from, which the gateway is to refuse), --repeat-every N (every N-th goes to a recipient of 997 submits before).
 * HTTP: --host-path '/cgi-bin/sendsms?username=u&password=p&to=%T&from=%F&text=%S' (one request in flight per connection).
 * Closed loop: each connection keeps at most `window` submits unanswered. With --rate R it is paced (total msgs/s over
 * all connections) and latency runs from the scheduled time.  Prints ONE JSON line.
 * If the simulator's stats file is there, it also waits until the upstream has received what was accepted (at most
 * --drain-seconds without progress) and reports upstream counts, delivered msgs/s and one-way latency. */
#include "common.h"
#define MAXW 4096
typedef struct { Buf b; int id; uint32_t seq; int infl,up,dead; uint64_t*ts; uint32_t*sq; int W; uint64_t sent,done; int hstate; } Conn;
static int proto=P_SMPP,port=2775,nconn=1,window=16,nsend=1000,regdlr=0,text=0,maxs=60,drain=20,vers=0x20,bindcmd=9; static uint64_t M=100000; static double rate=0;
static const char*user="user1",*pass="pass1",*sf=STATS_DEF,*from="1069",*label="",*hpath=0,*systype=""; static int cidx=0; static int ep;
static uint64_t hist[HN],sent=0,accepted=0,rejected=0,unknown=0,dlrs=0,enq=0,lost=0,codes[16],ncodes[16]; static int nc=0; static uint64_t t0; static uint64_t maxlat=0;
typedef struct { uint8_t b[512]; int len,stamp; } Tpl;  /* stamp: where the stamp goes, 0: this text carries none */
static Tpl *tpls; static int ntpl=1; static uint8_t tpl[4096]; static int tl,off_src,off_dst,off_txt,tstride,off_reg;
static char (*snd)[24],(*bad)[24]; static int slen; static const char*textfile=0,*badfrom="1060"; static uint64_t refuse_every=0,repeat_every=0;
static void code(uint64_t c){ for(int i=0;i<nc;i++) if(codes[i]==c){ncodes[i]++;return;} if(nc<16){codes[nc]=c;ncodes[nc++]=1;} }
static const char HX[]="0123456789abcdef";
static int mk_text(uint8_t*o,int*dcs){ /* 70 characters; first 17 are the stamp */
  static const uint16_t zh[]={0x60a8,0x7684,0x9a8c,0x8bc1,0x7801,0x662f,0x8bf7,0x52ff,0x6cc4,0x9732,0x7ed9,0x4ed6,0x4eba,0x94f6,0x884c,0x8d26,0x6237,0x4f59,0x989d};
  static const uint8_t gb[]={0xc4,0xfa,0xb5,0xc4,0xd1,0xe9,0xd6,0xa4,0xc2,0xeb,0xca,0xc7,0xc7,0xeb,0xce,0xf0,0xd0,0xb9,0xc2,0xb6};
  int n=0; if(text==0){ *dcs=0; tstride=1; memcpy(o,"#0000000000000000 your login code is 483920, valid for 5 min. Example!!",70); return 70; }
  if(text==1){ *dcs=8; tstride=2; for(int i=0;i<17;i++){o[n++]=0;o[n++]=i?'0':'#';} for(int i=17;i<70;i++){uint16_t c=zh[i%19];o[n++]=c>>8;o[n++]=c;} return n; }
  if(text==3){ /* 【示例银行】 + stamp + filler + 拒收请回复R, 70 characters: passes signature and opt-out rules */
    static const uint16_t head[]={0x3010,0x793a,0x4f8b,0x94f6,0x884c,0x3011},tail[]={0xff0c,0x62d2,0x6536,0x8bf7,0x56de,0x590d,'R'}; *dcs=8; tstride=2;
    for(int i=0;i<70;i++){ uint16_t c=i<6?head[i]:i==6?'#':i<23?'0':i>=63?tail[i-63]:zh[i%19]; o[n++]=c>>8; o[n++]=c; } return n; }
  *dcs=15; tstride=1; memcpy(o,"#0000000000000000",17); n=17; for(int i=17;i<70;i++){ int k=(i%10)*2; o[n++]=gb[k];o[n++]=gb[k+1]; } return n; }
static int utf8_to_ucs2(const char*s,uint8_t*o){ int n=0; while(*s&&*s!='\n'&&*s!='\r'){ const uint8_t*u=(const void*)s; uint32_t c; if(u[0]<0x80){c=u[0];s++;} else if(u[0]<0xe0){c=(u[0]&31)<<6|(u[1]&63);s+=2;} else if(u[0]<0xf0){c=(u[0]&15)<<12|(u[1]&63)<<6|(u[2]&63);s+=3;} else return -1; if(n==140) return -1; o[n++]=c>>8; o[n++]=c; } return n; }
static void build(const char*line){
  uint8_t tx[200]; int dcs,n; if(line){ dcs=8; n=utf8_to_ucs2(line,tx); if(n<=0){ fprintf(stderr,"text too long or not in the basic plane: %s\n",line); exit(2); } } else n=mk_text(tx,&dcs);
  int o; memset(tpl,0,sizeof tpl); slen=strlen(from)+6;
  if(proto==P_SMPP){ o=16; tpl[o++]=0; tpl[o++]=0;tpl[o++]=1; off_src=o; o+=slen; tpl[o++]=0; tpl[o++]=1;tpl[o++]=1; off_dst=o; memcpy(tpl+o,"8613800000000",13); o+=13; tpl[o++]=0;
    tpl[o++]=0;tpl[o++]=0;tpl[o++]=0;tpl[o++]=0;tpl[o++]=0; off_reg=o; tpl[o++]=regdlr; tpl[o++]=0; tpl[o++]=dcs; tpl[o++]=0; tpl[o++]=n; off_txt=o+(text==3?12:0); memcpy(tpl+o,tx,n); o+=n; tl=o; p32(tpl,tl); p32(tpl+4,4); }
  else if(proto==P_SMGP){ o=12; tpl[o++]=6; tpl[o++]=regdlr; tpl[o++]=0; memcpy(tpl+o,"SVC0000001",10);o+=10; memcpy(tpl+o,"00",2);o+=2; memcpy(tpl+o,"000000",6);o+=6; memcpy(tpl+o,"000000",6);o+=6; tpl[o++]=dcs; o+=34;
    off_src=o; o+=42; tpl[o++]=1; off_dst=o; memcpy(tpl+o,"13800000000",11); o+=21; tpl[o++]=n; off_txt=o+(text==3?12:0); memcpy(tpl+o,tx,n); o+=n+8; tl=o; p32(tpl,tl); p32(tpl+4,2); }
  else if(proto==P_SGIP){ o=20; p32(tpl+8,3057100001u); off_src=o; o+=21; memcpy(tpl+o,"000000000000000000000",21); o+=21; tpl[o++]=1; off_dst=o; memcpy(tpl+o,"8613800000000",13); o+=21; memcpy(tpl+o,"00001",5);o+=5; memcpy(tpl+o,"SVC0000001",10);o+=10;
    tpl[o++]=1; memcpy(tpl+o,"0",1);o+=6; memcpy(tpl+o,"0",1);o+=6; o++; tpl[o++]=2; o++; o+=32; tpl[o++]=regdlr?1:2; o+=2; tpl[o++]=dcs; o++; p32(tpl+o,n);o+=4; off_txt=o+(text==3?12:0); memcpy(tpl+o,tx,n); o+=n+8; tl=o; p32(tpl,tl); p32(tpl+4,3); }
  else { int v3=proto==P_CMPP3; o=12; o+=8; tpl[o++]=1;tpl[o++]=1; tpl[o++]=regdlr; tpl[o++]=1; memcpy(tpl+o,"SVC0000001",10);o+=10; tpl[o++]=2; o+=v3?33:21; tpl[o++]=0;tpl[o++]=0;tpl[o++]=dcs; o+=6; /* Msg_src: the gateway and the carrier know the account from the login */ memcpy(tpl+o,"01",2);o+=2; memcpy(tpl+o,"000000",6);o+=6; o+=34; off_src=o; o+=21; tpl[o++]=1; off_dst=o; memcpy(tpl+o,"13800000000",11); o+=v3?33:21; tpl[o++]=n; off_txt=o+(text==3?12:0); memcpy(tpl+o,tx,n); o+=n; o+=v3?20:8; tl=o; p32(tpl,tl); p32(tpl+4,4); }
  Tpl*k=&tpls[ntpl-1]; memcpy(k->b,tpl,tl); k->len=tl; k->stamp=line?0:off_txt; if(snd) return;
  if(strlen(badfrom)!=strlen(from)){ fprintf(stderr,"--refuse-from must be as long as --from\n"); exit(2); }
  bad=calloc(nsend,24); for(int i=0;i<nsend;i++) snprintf(bad[i],24,"%s%06d",badfrom,(int)((i*7919u)%1000000));
  snd=calloc(nsend,24); for(int i=0;i<nsend;i++) snprintf(snd[i],24,"%s%06d",from,(int)((i*7919u)%1000000)); }
static void put_stamp(uint8_t*t,int st,uint64_t v){ int o=st==2?3:1; for(int i=15;i>=0;i--){ t[o+i*st]=HX[v&15]; v>>=4; } }
static int dial(void){ int fd=socket(AF_INET,SOCK_STREAM,0),one=1; struct sockaddr_in sa={.sin_family=AF_INET,.sin_port=htons(port),.sin_addr.s_addr=htonl(INADDR_LOOPBACK)}; if(connect(fd,(void*)&sa,sizeof sa)){close(fd);return -1;} setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one); return fd; }
static int rdn(int fd,uint8_t*p,int n){ int o=0; while(o<n){ ssize_t r=recv(fd,p+o,n-o,0); if(r<=0) return -1; o+=r; } return 0; }
static int login(int fd){ struct timeval tv={10,0}; setsockopt(fd,SOL_SOCKET,SO_RCVTIMEO,&tv,sizeof tv); uint8_t p[512]; int o;
  if(proto==P_SMPP){ o=16; o+=sprintf((char*)p+o,user,cidx)+1; strcpy((char*)p+o,pass);o+=strlen(pass)+1; o+=sprintf((char*)p+o,systype,cidx)+1; p[o++]=0x34;p[o++]=0;p[o++]=0;p[o++]=0; p32(p,o);p32(p+4,bindcmd);p32(p+8,0);p32(p+12,1);
    if(send(fd,p,o,MSG_NOSIGNAL)!=o) return -1; if(rdn(fd,p,4)) return -1; uint32_t l=g32(p); if(l<16||l>500||rdn(fd,p+4,l-4)) return -1; if(g32(p+8)){ fprintf(stderr,"bind status 0x%x\n",g32(p+8)); return -1; } }
  else if(proto==P_SGIP){ memset(p,0,61); p32(p,61);p32(p+4,1);p32(p+8,3057100001u);p32(p+16,1); p[20]=1; char me[64]; snprintf(me,64,user,cidx); memcpy(p+21,me,strnlen(me,16)); memcpy(p+37,pass,strnlen(pass,16));
    if(send(fd,p,61,MSG_NOSIGNAL)!=61) return -1; if(rdn(fd,p,29)) return -1; if(p[20]){ fprintf(stderr,"bind result %u\n",p[20]); return -1; } }
  else if(proto==P_SMGP){ memset(p,0,sizeof p); time_t t=time(0); struct tm tm; localtime_r(&t,&tm); char ts[16]; strftime(ts,16,"%m%d%H%M%S",&tm); uint8_t in[128]; char me[64]; snprintf(me,64,user,cidx); int n=strnlen(me,8); memcpy(in,me,n); memset(in+n,0,7); n+=7; n+=snprintf((char*)in+n,64,"%s%s",pass,ts);
    p32(p,42);p32(p+4,1);p32(p+8,1); memcpy(p+12,me,strnlen(me,8)); md5(in,n,p+20); p[36]=2; p32(p+37,(uint32_t)strtoul(ts,0,10)); p[41]=0x30; if(send(fd,p,42,MSG_NOSIGNAL)!=42) return -1; if(rdn(fd,p,33)) return -1; if(g32(p+12)){ fprintf(stderr,"login status %u\n",g32(p+12)); return -1; } }
  else if(proto!=P_HTTP){ int v3=proto==P_CMPP3; memset(p,0,sizeof p); time_t t=time(0); struct tm tm; localtime_r(&t,&tm); char ts[16]; strftime(ts,16,"%m%d%H%M%S",&tm); uint8_t in[128]; char me[64]; snprintf(me,64,user,cidx); int n=strnlen(me,6); memcpy(in,me,n); memset(in+n,0,9); n+=9; n+=snprintf((char*)in+n,64,"%s%s",pass,ts);
    p32(p,39);p32(p+4,1);p32(p+8,1); memcpy(p+12,me,strnlen(me,6)); md5(in,n,p+18); p[34]=v3?0x30:0x20; p32(p+35,(uint32_t)strtoul(ts,0,10)); if(send(fd,p,39,MSG_NOSIGNAL)!=39) return -1; if(rdn(fd,p,4)) return -1; uint32_t l=g32(p); if(l<12||l>500||rdn(fd,p+4,l-4)) return -1; uint32_t st=l>=33?g32(p+12):p[12]; if(st){ fprintf(stderr,"connect status %u\n",st); return -1; } }
  tv.tv_sec=0; setsockopt(fd,SOL_SOCKET,SO_RCVTIMEO,&tv,sizeof tv); fcntl(fd,F_SETFL,fcntl(fd,F_GETFL)|O_NONBLOCK); return 0; }
static void reg(Conn*c){ struct epoll_event e={.events=EPOLLIN,.data.ptr=c}; epoll_ctl(ep,EPOLL_CTL_ADD,c->b.fd,&e); }
static void emit(Conn*c,uint64_t t){ uint64_t k=sent++; c->sent++; c->infl++; const char*s=refuse_every&&k%refuse_every==0?bad[k%nsend]:snd[k%nsend]; uint64_t kr=repeat_every&&k>=997&&k%repeat_every==0?k-997:k;
  uint32_t n=(uint32_t)(13800000000ull%1000000000u+kr%90000000u);
  if(proto==P_HTTP){ uint8_t*o=b_out(&c->b,1024); int n0=0; for(const char*q=hpath;*q;q++){ if(q[0]=='%'&&q[1]=='T'){ n0+=sprintf((char*)o+n0,"8613%09llu",(unsigned long long)(k%900000000ull)); q++; } else if(q[0]=='%'&&q[1]=='F'){ memcpy(o+n0,s,slen); n0+=slen; q++; } else if(q[0]=='%'&&q[1]=='S'){ memcpy(o+n0,"%23",3); memcpy(o+n0+3,"0000000000000000+your+login+code+is+483920%2C+valid+for+5+min.+Example",70); put_stamp(o+n0+2,1,t); n0+=73; q++; } else o[n0++]=*q; }
    char head[64]; (void)head; /* request line is put together in place */
    uint8_t tmp[1024]; int m=sprintf((char*)tmp,"GET %.*s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",n0,o); memcpy(o,tmp,m); c->b.ol-=1024-m; c->ts[0]=t; return; }
  const Tpl*T=&tpls[ntpl>1&&(k&1)?1+(k>>1)%(ntpl-1):0]; uint8_t*o=b_out(&c->b,T->len); memcpy(o,T->b,T->len); uint32_t q=++c->seq; p32(o+head_of(proto)-4,q); memcpy(o+off_src,s,slen);
  uint8_t*d=o+off_dst+(proto==P_SMPP||proto==P_SGIP?4:2); for(int i=8;i>=0;i--){ d[i]='0'+n%10; n/=10; }
  if(T->stamp) put_stamp(o+T->stamp,tstride,t); int sl=q&(MAXW*2-1); c->ts[sl]=t; c->sq[sl]=q; }
static void done(Conn*c,uint64_t t,uint64_t ts,uint64_t st){ c->infl--; c->done++; uint64_t l=t-ts; if(l>maxlat) maxlat=l; hist[hidx(l)]++; if(st==0) accepted++; else { rejected++; code(st);} }
static int pdu(Conn*c,const uint8_t*p,uint32_t l,uint64_t t){ int sm=proto==P_SMPP; uint32_t cmd=g32(p+4),seq=g32(p+head_of(proto)-4); uint8_t*o;
  if(proto==P_SMGP||proto==P_SGIP){ if(cmd==(proto==P_SMGP?0x80000002u:0x80000003u)){ int sl=seq&(MAXW*2-1); if(c->sq[sl]!=seq){ unknown++; return 0; } c->sq[sl]=0; done(c,t,c->ts[sl],proto==P_SMGP?g32(p+22):p[20]); } return 0; }
  if(cmd==0x80000004u){ int sl=seq&(MAXW*2-1); if(c->sq[sl]!=seq){ unknown++; return 0; } c->sq[sl]=0; uint32_t st=sm?g32(p+8):(proto==P_CMPP3?g32(p+20):p[20]); done(c,t,c->ts[sl],st); return 0; }
  if(cmd==0x80000000u&&sm){ int sl=seq&(MAXW*2-1); if(c->sq[sl]==seq){ c->sq[sl]=0; done(c,t,c->ts[sl],0x10000|g32(p+8)); } else unknown++; return 0; }
  if(cmd==5){ dlrs++; if(sm){ o=b_out(&c->b,17); p32(o,17);p32(o+4,0x80000005u);p32(o+8,0);p32(o+12,seq);o[16]=0; } else { int v3=proto==P_CMPP3,bl=v3?12:9; o=b_out(&c->b,12+bl); memset(o,0,12+bl); p32(o,12+bl);p32(o+4,0x80000005u);p32(o+8,seq); memcpy(o+12,p+12,8);} return 0; }
  if(sm&&cmd==0x15){ enq++; o=b_out(&c->b,16); p32(o,16);p32(o+4,0x80000015u);p32(o+8,0);p32(o+12,seq); return 0; }
  if(!sm&&cmd==8){ enq++; o=b_out(&c->b,13); p32(o,13);p32(o+4,0x80000008u);p32(o+8,seq);o[12]=0; return 0; }
  if(sm&&cmd==6){ o=b_out(&c->b,16); p32(o,16);p32(o+4,0x80000006u);p32(o+8,0);p32(o+12,seq); return -1; }
  return 0; }
/* -1 closed; handles one or more HTTP responses */
static int http_in(Conn*c,uint64_t t){ Buf*b=&c->b; for(;;){ if(b->il==0||c->infl==0) return 0; b->ib[b->il<b->icap?b->il:b->icap-1]=0; char*h=(char*)b->ib; char*e=memmem(h,b->il,"\r\n\r\n",4); if(!e) return 0; int hl=e-h+4; int st=atoi(h+9); int cl=-1,chunk=0,cc=0; char*x;
    *e=0; if((x=strcasestr(h,"\r\nContent-Length:"))) cl=atoi(x+17); if(strcasestr(h,"\r\nTransfer-Encoding: chunked")) chunk=1; if(strcasestr(h,"\r\nConnection: close")) cc=1; *e='\r';
    int tot; if(chunk){ char*z=memmem(h+hl-2,b->il-hl+2,"\r\n0\r\n\r\n",7); if(!z) return 0; tot=z-h+7; } else { if(cl<0) cl=0; tot=hl+cl; if(b->il<tot) return 0; }
    memmove(b->ib,b->ib+tot,b->il-tot); b->il-=tot; done(c,t,c->ts[0],st>=200&&st<300?0:st); if(cc) return -1; } }
int main(int ac,char**av){
  for(int i=1;i<ac;i++){ char*a=av[i]; if(!strcmp(a,"--regdlr")) regdlr=1; else if(i+1<ac){ char*v=av[++i];
    if(!strcmp(a,"--proto"))proto=proto_of(v); else if(!strcmp(a,"--port"))port=atoi(v); else if(!strcmp(a,"--conns"))nconn=atoi(v); else if(!strcmp(a,"--window"))window=atoi(v); else if(!strcmp(a,"--messages"))M=atoll(v);
    else if(!strcmp(a,"--user"))user=v; else if(!strcmp(a,"--pass"))pass=v; else if(!strcmp(a,"--text"))text=!strcmp(v,"ucs2")?1:!strcmp(v,"gbk")?2:!strcmp(v,"signed")?3:0; else if(!strcmp(a,"--senders"))nsend=atoi(v); else if(!strcmp(a,"--rate"))rate=atof(v); else if(!strcmp(a,"--max-seconds"))maxs=atoi(v); else if(!strcmp(a,"--drain-seconds"))drain=atoi(v); else if(!strcmp(a,"--stats"))sf=v; else if(!strcmp(a,"--systype"))systype=v; else if(!strcmp(a,"--from"))from=v; else if(!strcmp(a,"--label"))label=v; else if(!strcmp(a,"--texts"))textfile=v; else if(!strcmp(a,"--refuse-every"))refuse_every=atoll(v); else if(!strcmp(a,"--refuse-from"))badfrom=v; else if(!strcmp(a,"--repeat-every"))repeat_every=atoll(v); else if(!strcmp(a,"--host-path"))hpath=v; else if(!strcmp(a,"--bind"))bindcmd=!strcmp(v,"tx")?2:9; else {fprintf(stderr,"?%s\n",a);return 2;} } else {fprintf(stderr,"?%s\n",a);return 2;} }
  if(regdlr&&(proto==P_SMGP||proto==P_SGIP)){ fprintf(stderr,"--regdlr: only SMPP and CMPP\n"); return 2; }
  if(window>MAXW) window=MAXW; if(proto==P_HTTP) window=1; signal(SIGPIPE,SIG_IGN); tpls=calloc(4096,sizeof*tpls); build(0);
  if(textfile&&proto!=P_HTTP){ FILE*f=fopen(textfile,"r"); char line[1024]; if(!f){ perror(textfile); return 2; } while(ntpl<4096&&fgets(line,sizeof line,f)) if(line[0]!='\n'){ ntpl++; build(line); } fclose(f); }
  ep=epoll_create1(0);
  Stats*S=stats_map(sf,0); static Stats S0; if(S) memcpy(&S0,(void*)S,sizeof S0);
  Conn*C=calloc(nconn,sizeof*C); for(int i=0;i<nconn;i++){ cidx=i; int fd=dial(); if(fd<0||login(fd)){ fprintf(stderr,"connection %d failed: %s\n",i,strerror(errno)); return 1; } b_init(&C[i].b,fd); C[i].id=i; C[i].seq=1; C[i].ts=calloc(MAXW*2,8); C[i].sq=calloc(MAXW*2,4); C[i].up=1; reg(&C[i]); }
  t0=now_ns(); uint64_t end=t0+(uint64_t)maxs*1000000000ull,tlast=t0; struct epoll_event ev[512]; int alive=nconn; int rr=0; uint64_t lastprog=t0;
  if(rate==0) for(int i=0;i<nconn;i++){ while(C[i].infl<window&&sent<M) emit(&C[i],now_ns()); b_flush(&C[i].b,ep,&C[i]); }
  while(alive>0){ uint64_t t=now_ns(); if(t>end) break; if(accepted+rejected+lost>=M) break;
    if(sent>=M && t-lastprog>15000000000ull) break;
    int tmo=200; uint64_t wns=0; if(rate>0&&sent<M){ /* paced */
      uint64_t want=(uint64_t)((t-t0)*rate/1e9)+1; if(want>M) want=M; int tries=0; 
      while(sent<want&&tries<nconn){ Conn*c=&C[rr]; rr=(rr+1)%nconn; if(c->dead||c->infl>=window){tries++;continue;} tries=0; emit(c,t0+(uint64_t)(sent*1e9/rate)); if(c->b.ol-c->b.oh>16384) b_flush(&c->b,ep,c); }
      for(int i=0;i<nconn;i++) if(!C[i].dead&&C[i].b.ol>C[i].b.oh&&!C[i].b.wantw) b_flush(&C[i].b,ep,&C[i]);
      uint64_t due=t0+(uint64_t)(sent*1e9/rate),tn=now_ns(); wns=due>tn?due-tn:0; if(wns>1000000||sent>=M||sent<want) wns=1000000; tmo=-2; }
    struct timespec tw={0,(long)wns}; int n=tmo==-2?epoll_pwait2(ep,ev,512,&tw,0):epoll_wait(ep,ev,512,tmo); t=now_ns();
    for(int i=0;i<n;i++){ Conn*c=ev[i].data.ptr; if(c->dead) continue; Buf*b=&c->b; int cl=0;
      if(ev[i].events&(EPOLLIN|EPOLLHUP|EPOLLERR)){ ssize_t r=recv(b->fd,b->ib+b->il,b->icap-1-b->il,0);
        if(r==0||(r<0&&errno!=EAGAIN&&errno!=EINTR)) cl=1;
        else if(r>0){ b->il+=r; lastprog=t; if(proto==P_HTTP){ if(http_in(c,t)) cl=1; } else { int o=0,hdr=head_of(proto); while(b->il-o>=hdr){ uint32_t l=g32(b->ib+o); if(l<(uint32_t)hdr||l>65536){ fprintf(stderr,"bad length\n"); cl=1; break; } if(b->il-o<(int)l) break; if(pdu(c,b->ib+o,l,t)) cl=1; o+=l; } if(o){ memmove(b->ib,b->ib+o,b->il-o); b->il-=o; } } tlast=t; } }
      if(!cl&&rate==0){ uint64_t tn=c->infl<window&&sent<M?now_ns():0; while(c->infl<window&&sent<M) emit(c,tn); }
      if(!cl&&b_flush(b,ep,c)) cl=1;
      if(cl){ epoll_ctl(ep,EPOLL_CTL_DEL,b->fd,0); close(b->fd);
        if(proto==P_HTTP){ if(c->infl){ lost++; c->infl=0; } int fd=dial(); if(fd>=0&&!login(fd)){ b->fd=fd; b->il=b->oh=b->ol=0; b->wantw=0; reg(c); if(sent<M&&rate==0){ emit(c,now_ns()); b_flush(b,ep,c);} continue; } }
        lost+=c->infl; c->infl=0; c->dead=1; alive--; } } }
  double dt=(tlast-t0)/1e9; uint64_t answered=accepted+rejected; uint64_t unans=sent-answered;
  /* drain: wait for the store-and-forward backlog to reach the simulator */
  uint64_t up=0,prev=~0ull,tp=now_ns(); if(S){ for(;;){ up=S->submits-S0.submits; uint64_t t=now_ns(); if(up!=prev){prev=up;tp=t;} if(up>=accepted) break; if(t-tp>(uint64_t)drain*1000000000ull) break;
      int n=epoll_wait(ep,ev,512,20); t=now_ns(); for(int i=0;i<n;i++){ Conn*c=ev[i].data.ptr; if(c->dead||proto==P_HTTP) { if(proto==P_HTTP) epoll_ctl(ep,EPOLL_CTL_DEL,c->b.fd,0); continue;} Buf*b=&c->b; ssize_t r=recv(b->fd,b->ib+b->il,b->icap-1-b->il,0); if(r==0){epoll_ctl(ep,EPOLL_CTL_DEL,b->fd,0);c->dead=1;continue;} if(r>0){ b->il+=r; int o=0,hdr=head_of(proto); while(b->il-o>=hdr){ uint32_t l=g32(b->ib+o); if(b->il-o<(int)l) break; pdu(c,b->ib+o,l,t); o+=l; } memmove(b->ib,b->ib+o,b->il-o); b->il-=o; } b_flush(b,ep,c); } } up=S->submits-S0.submits; }
  if(regdlr&&S){ /* wait for receipts, 3 s without progress */ uint64_t pd=~0ull; tp=now_ns(); for(;;){ uint64_t t=now_ns(); if(dlrs!=pd){pd=dlrs;tp=t;} if(dlrs>=accepted||t-tp>3000000000ull) break; int n=epoll_wait(ep,ev,512,20); for(int i=0;i<n;i++){ Conn*c=ev[i].data.ptr; if(c->dead) continue; Buf*b=&c->b; ssize_t r=recv(b->fd,b->ib+b->il,b->icap-1-b->il,0); if(r==0){epoll_ctl(ep,EPOLL_CTL_DEL,b->fd,0);c->dead=1;continue;} if(r>0){ b->il+=r; int o=0,hdr=head_of(proto); while(b->il-o>=hdr){ uint32_t l=g32(b->ib+o); if(b->il-o<(int)l) break; pdu(c,b->ib+o,l,t); o+=l; } memmove(b->ib,b->ib+o,b->il-o); b->il-=o; } b_flush(b,ep,c); } } }
  uint64_t rejup=0; double ddt=0; static uint64_t eh[HN]; if(S){ rejup=S->rejected-S0.rejected; uint64_t last=S->last_ns; if(up) ddt=(last-t0)/1e9; for(int i=0;i<HN;i++) eh[i]=S->e2e[i]-S0.e2e[i]; }
  printf("{\"label\":\"%s\",\"proto\":%d,\"conns\":%d,\"window\":%d,\"sent\":%llu,\"accepted\":%llu,\"rejected\":%llu,\"unanswered\":%llu,\"lost_conn\":%llu,\"unknown\":%llu,\"seconds\":%.3f,\"msgs_s\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,",label,proto,nconn,window,(unsigned long long)sent,(unsigned long long)accepted,(unsigned long long)rejected,(unsigned long long)unans,(unsigned long long)lost,(unsigned long long)unknown,dt,dt>0?answered/dt:0,hpct(hist,.5)/1e6,hpct(hist,.99)/1e6,hpct(hist,.999)/1e6,maxlat/1e6);
  printf("\"upstream\":%llu,\"upstream_rejected\":%llu,\"upstream_msgs_s\":%.0f,\"e2e_p50_ms\":%.3f,\"e2e_p99_ms\":%.3f,\"e2e_p999_ms\":%.3f,\"dlr\":%llu,\"enquire\":%llu,\"equal\":%s,\"codes\":{",(unsigned long long)up,(unsigned long long)rejup,ddt>0?up/ddt:0,hpct(eh,.5)/1e6,hpct(eh,.99)/1e6,hpct(eh,.999)/1e6,(unsigned long long)dlrs,(unsigned long long)enq,(S&&sent==up+(rejected-rejup)&&unans==0)?"true":"false");
  for(int i=0;i<nc;i++) printf("%s\"%llu\":%llu",i?",":"",(unsigned long long)codes[i],(unsigned long long)ncodes[i]); printf("}}\n");
  /* polite end */
  for(int i=0;i<nconn;i++) if(!C[i].dead){ uint8_t p[20]; memset(p,0,20); if(proto==P_SMPP||proto==P_SMGP||proto==P_SGIP){int h=head_of(proto);p32(p,h);p32(p+4,proto==P_SGIP?2:6);p32(p+h-4,0x7fffff00);send(C[i].b.fd,p,h,MSG_NOSIGNAL);} else if(proto!=P_HTTP){p32(p,12);p32(p+4,2);p32(p+8,0x7fffff00);send(C[i].b.fd,p,12,MSG_NOSIGNAL);} close(C[i].b.fd); }
  return 0; }
