/* Delivery of one order's N calls by two dispatchers: claims, leases, crashes, lost and late answers, keys that are
   forgotten, lookups, and what people do. The rules are those of projections/delivery and adapters/postgres/sql; the
   third party carries out whatever comes under a key that it doesn't know. tests/simulation/model.py says which
   settings are checked.

   CORRECT: the last call is a correction, the one before it a completion; else the last one is the completion.
   STALL: a process may stand still between its look at the lease and the socket.
   LATE=n: a request may come to the third party n ticks after it was sent.
   REDELIVER=n, SKIP=n: so many redeliveries; so many retries and skips of calls that stand still.
   M_...: a rule is left out; then a counterexample must be found. */
#ifndef N
#define N 3
#endif
#define D 2
#ifndef L
#define L 4
#endif
#define T 1
#ifndef P
#define P 5
#endif
#ifndef R
#define R 5
#endif
#ifndef TMAX
#define TMAX 12
#endif
#ifndef LATE
#define LATE T
#endif
#ifndef REDELIVER
#define REDELIVER 0
#endif
#ifndef SKIP
#define SKIP 0
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define S 2            /* requests on the wire at most */

/* the ledger */
byte now, settled, head = N, leaseUntil, token, claimedAt1, claimedHead;   /* …1: time + 1, 0 is null */
bit parked;
byte firstSent1[N+1]; bit doubt[N+1], deliv[N+1], skipped[N+1];
/* dispatchers */
byte pc[D], cur[D], lend[D], cset[D], dAge1[D*(N+1)], chead[D], claimT[D]; bit mine[D], park[D], ddoubt[D*(N+1)];
byte tried[D]; bit indoubt[D*(N+1)], done[D*(N+1)];
byte sentAt[D];
/* the wire */
byte wv[S], wd[S], wt[S];  /* version, listener (d+1, 0: gone), sent at */
/* the third party */
byte applied[N+1], keyAt1[N+1], st, amount, lastv, redeliveries, skips, retries, crashes;
bit bad_twice, bad_order, bad_lie;

#define X(d,v) ((d)*(N+1)+(v))
byte i, j, w, f; bit ok, any;

inline clear_d(d) {
  pc[d]=0; cur[d]=0; lend[d]=0; cset[d]=0; chead[d]=0; claimT[d]=0; park[d]=0; tried[d]=0; sentAt[d]=0; mine[d]=0;
  for (i : 0 .. N) { dAge1[X(d,i)]=0; ddoubt[X(d,i)]=0; indoubt[X(d,i)]=0; done[X(d,i)]=0 } i=0;
}
inline forget_listener(d) { for (i : 0 .. S-1) { if :: wd[i]==d+1 -> wd[i]=0 :: else fi } i=0; }
/* next unsettled version after v, or 0 */
inline nextcall(v, upto) { f=0; for (i : 1 .. N) { if :: f==0 && i>v && i<=upto && !deliv[i] && !skipped[i] -> f=i :: else fi } i=0; }
inline note_lost() {
  if :: claimedAt1 -> for (i : 1 .. N) { if :: i>settled && i<=claimedHead && !deliv[i] && !skipped[i] ->
       doubt[i]=1; if :: firstSent1[i]==0 -> firstSent1[i]=claimedAt1 :: else fi :: else fi } i=0
     :: else fi }

inline claim(d) {
#ifndef M_NO_CLAIM_MARK
  note_lost();
#endif
  for (i : 0 .. D-1) { mine[i]=0 } i=0;
  clear_d(d);
  token=d+1; mine[d]=1; leaseUntil=now+L; claimedAt1=now+1; claimedHead=head;
#ifdef M_NO_CLAIM_MARK
  claimedAt1=0;
#endif
  pc[d]=1; lend[d]=now+L; cset[d]=settled; chead[d]=head; claimT[d]=now;
  for (i : 1 .. N) { ddoubt[X(d,i)]=doubt[i]; dAge1[X(d,i)]=firstSent1[i] } i=0;
  nextcall(settled, head); cur[d]=f; f=0;
}
inline finish(d) { pc[d]=4 }
inline advance(d) {   /* cur is carried out */
  done[X(d,cur[d])]=1; cset[d]=cur[d];
  nextcall(cur[d], chead[d]); if :: f -> cur[d]=f; pc[d]=1 :: else -> pc[d]=4 fi; f=0;
}
#ifdef M_NO_RETENTION
#define forgotten(d) (false)
#else
#define forgotten(d) (ddoubt[X(d,cur[d])] && now + 1 - dAge1[X(d,cur[d])] + T >= P)
#endif
#ifdef M_FIT
#define fits(d) (true)
#else
#define fits(d) (now + T < lend[d])
#endif
#ifdef CORRECT
#define E (N-1)        /* the completion */
#else
#define E N
#endif
/* what settle_doubt says of a lookup: amounts are the versions of the calls that say them; a completion says the amount
   of the call before it */
#define carried(v) ((v<E && st==1 && amount==v && lastv>=v) || (v==E && st==2 && amount==E-1) \
                    || (v>E && st==2 && amount==v && lastv>=v))
#define later_done(d,v) ((v<2 && N>1 && ddoubt[X(d,2)] && carried(2)) || (v<3 && N>2 && ddoubt[X(d,3)] && carried(3)))
#define surely_not(v) (v!=1 && lastv<=v && ((v<E && st==1) || (v==E && st==1 && amount==E-1) || (v>E && st==2)))

inline lookup(d) {
  if
  :: st==0 -> if :: cur[d]==1 -> ddoubt[X(d,1)]=0; pc[d]=2 :: else -> park[d]=1; pc[d]=4 fi
  :: else -> if
     :: carried(cur[d]) || later_done(d,cur[d]) -> advance(d)
     :: else -> if :: surely_not(cur[d]) -> ddoubt[X(d,cur[d])]=0; pc[d]=2 :: else -> park[d]=1; pc[d]=4 fi
     fi
  fi }

inline put(d) { w=S; for (i : 0 .. S-1) { if :: wv[i]==0 -> w=i :: else fi } i=0;
  wv[w]=cur[d]; wd[w]=d+1; wt[w]=now; w=0; sentAt[d]=now; tried[d]=1; pc[d]=3; }
#define room (wv[0]==0 || wv[1]==0)

inline arrive(s) {
  j=wv[s];
  if
  :: keyAt1[j] && now+1-keyAt1[j] < R -> ok=1
  :: else ->
     if :: (j==1 && st==0) || j>1 || applied[1] -> ok=1 :: else -> ok=0 fi;
     if :: ok ->
        if :: applied[j] -> bad_twice=1 :: else fi;
        if :: lastv>j -> bad_order=1 :: else fi;
        applied[j]=1; keyAt1[j]=now+1; lastv=j;
        if :: j<E -> st=1; amount=j :: j==E -> st=2 :: else -> amount=j fi
     :: else fi
  fi;
  if :: wd[s] && pc[wd[s]-1]==3 && cur[wd[s]-1]==j ->
        if
        :: ok -> w=wd[s]-1; advance(w); w=0
        :: !ok -> park[wd[s]-1]=1; pc[wd[s]-1]=4
        fi
     :: else fi;
  wv[s]=0; wd[s]=0; wt[s]=0; ok=0; j=0;
}
inline settle(d) {
#ifdef M_TOKEN
  if :: true ->
#else
  if :: mine[d] && token==d+1 ->
#endif
     for (i : 1 .. N) {
       if :: done[X(d,i)] -> deliv[i]=1; doubt[i]=1;
              if :: !applied[i] -> bad_lie=1 :: else fi;
              if :: firstSent1[i]==0 -> firstSent1[i]=claimedAt1 :: else fi
          :: else fi;
       if :: indoubt[X(d,i)] -> doubt[i]=1; if :: firstSent1[i]==0 -> firstSent1[i]=claimedAt1 :: else fi :: else fi
     } i=0;
     settled=cset[d]; token=0; claimedAt1=0; claimedHead=0; leaseUntil=now; parked=park[d]
  :: else fi;
  clear_d(d)
}
inline redeliver() {     /* how=force: delivered calls too, if their keys are remembered */
  w=0; f=0;
  for (i : 1 .. N) {
    if :: skipped[i] -> skip
       :: !skipped[i] && deliv[i] && firstSent1[i] && now+1-firstSent1[i] >= P -> skip
       :: else -> if :: w==0 -> w=i :: else fi; f=i
    fi } i=0;
  if :: w ->
     if :: settled>=w || leaseUntil<=now || (claimedAt1==0 && token==0) ->
#ifndef M_RD_NOTE
        note_lost(); token=0; mine[0]=0; mine[1]=0;
        if :: leaseUntil>now -> claimedHead=0 :: else claimedAt1=0; claimedHead=0 fi
#else
        skip
#endif
        :: else fi;
     for (i : 1 .. N) { if :: i>=w && i<=f && !skipped[i] && !(deliv[i] && firstSent1[i] && now+1-firstSent1[i]>=P) -> deliv[i]=0 :: else fi } i=0;
#ifndef M_RD_TOKEN
     if :: !(leaseUntil>now && settled<w) -> token=0 :: else fi;
#endif
#ifdef M_RD_AT_ONCE
     leaseUntil=now;
#else
     if :: claimedAt1==0 && token==0 -> leaseUntil=now :: else fi;
#endif
     if :: settled>w-1 -> settled=w-1 :: else fi;
     head=f; parked=0
  :: else fi; w=0; f=0;
}

#define busy(d) (pc[d]!=0)
init {
  do
  :: d_step { now<TMAX -> now++;
       /* a request that is too old to arrive is gone */
       for (i : 0 .. S-1) { if :: wv[i] && now>wt[i]+LATE -> wv[i]=0; wd[i]=0; wt[i]=0 :: else fi } i=0 }
  :: d_step { !busy(0) && !parked && settled<head && leaseUntil<=now -> claim(0) }
  :: d_step { !busy(1) && !parked && settled<head && leaseUntil<=now -> claim(1) }
#define ACT(d) \
  :: d_step { pc[d]==1 && cur[d]==0 -> pc[d]=4 } \
  :: d_step { pc[d]==1 && cur[d] && !fits(d) -> pc[d]=4 } \
  :: d_step { pc[d]==1 && cur[d] && fits(d) && forgotten(d) -> lookup(d) } \
  :: d_step { pc[d]==1 && cur[d] && fits(d) && !forgotten(d) && room -> put(d) } \
  :: d_step { pc[d]==2 && !fits(d) -> pc[d]=4 } \
  :: d_step { pc[d]==2 && fits(d) && room -> put(d) } \
  :: d_step { pc[d]==3 && now>=sentAt[d]+T -> indoubt[X(d,cur[d])]=1; forget_listener(d); pc[d]=4 } \
  :: d_step { pc[d]==4 -> settle(d) } \
  :: d_step { pc[d]!=0 && crashes<CRASHES -> crashes++; forget_listener(d); clear_d(d) }
  ACT(0)
  ACT(1)
#ifdef STALL
#define ST(d) :: d_step { pc[d]==1 && cur[d] && fits(d) && !forgotten(d) -> pc[d]=5 } :: d_step { pc[d]==5 && room -> put(d) }
  ST(0)
  ST(1)
#endif
  :: d_step { wv[0] -> arrive(0) }
  :: d_step { wv[1] -> arrive(1) }
  /* the connection breaks: nobody hears the answer; the request may still arrive */
#define BREAK(s) :: d_step { wv[s] && wd[s] && pc[wd[s]-1]==3 && cur[wd[s]-1]==wv[s] -> w=wd[s]-1; indoubt[X(w,wv[s])]=1; pc[w]=4; wd[s]=0; w=0 }
  BREAK(0)
  BREAK(1)
  :: d_step { wv[0] -> wv[0]=0; wd[0]=0; wt[0]=0 }
  :: d_step { wv[1] -> wv[1]=0; wd[1]=0; wt[1]=0 }
  :: d_step { redeliveries<REDELIVER -> redeliveries++; redeliver() }
  :: d_step { skips<SKIP && parked && leaseUntil<=now && settled<head -> skips++; note_lost(); token=0; claimedAt1=0; claimedHead=0;
       nextcall(settled, N); if :: f -> skipped[f]=1; settled=f :: else settled=head fi; f=0; parked=0 }
  :: d_step { retries<SKIP && parked -> retries++; note_lost(); token=0; claimedAt1=0; claimedHead=0; parked=0 }
  :: assert(!bad_twice && !bad_order && !bad_lie)
  od
}
