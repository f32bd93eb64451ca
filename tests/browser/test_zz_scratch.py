from browser.jupyter import open_notebook
SRC='''
import random, traceback, sys
inst=random._inst; drawn=[]
import functools
for name in ("random","getrandbits"):
    pass
class Spy(random.Random):
    pass
base=random.getstate(); 
import threading, time
trail=[]
def watch():
    last=hash(random.getstate())
    while True:
        now=hash(random.getstate())
        if now!=last:
            trail.append((time.time(), [ (t.name, traceback.format_stack(sys._current_frames()[t.ident])[-3:]) for t in threading.enumerate() if t.ident in sys._current_frames() and t is not threading.current_thread()]))
            last=now
        time.sleep(0.002)
threading.Thread(target=watch,daemon=True).start()
for name in ("random","choice","randint","randrange","sample","shuffle","uniform","getrandbits","seed","setstate"):
    old=getattr(random,name)
    def new(*a, _old=old,_name=name,**k):
        drawn.append((_name,[f"{f.filename}:{f.lineno}" for f in traceback.extract_stack()[-4:-1]])); return _old(*a,**k)
    setattr(random,name,new)
'''
def test_keys(chromium, lab):
    for k in range(3):
      with open_notebook(chromium, lab, "my_lessons/00_start_here.ipynb", workspace=f"keys{k}") as n:
        n.write(1, SRC)
        n.run_all_from_menu()
        i=n.find("practice.end()"); n.write(i,"print(fl.practice.end())\nfor d in drawn: print(d)\nprint(len(trail))\nfor t in trail: print(t)"); n.run(i); print(n.text(i)[:9000])
