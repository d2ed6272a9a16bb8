// 200 MiB, of which 150 are collected again.
public class Idle {
  public static void main(String[] args) throws Exception {
    byte[][] kept = new byte[200][];
    for (int i = 0; i < 200; i++) kept[i] = new byte[1000 << 10];
    for (int i = 50; i < 200; i++) kept[i] = null;
    System.gc();
    Thread.sleep(500);
    Runtime r = Runtime.getRuntime();
    System.out.println("ready " + r.totalMemory() + " " + (r.totalMemory() - r.freeMemory()));
    System.in.read();
    System.out.println(kept.length);
  }
}
