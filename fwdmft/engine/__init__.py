"""Infinite-width theory of training, and its leading finite-width corrections.

Definitions
-----------
population        Neurons that are independent, identically distributed at infinite width: those of one hidden layer.
                  It is represented by S sample neurons with their own random numbers.
average           <o> = sum_i o_i / S. Neurons interact only through averages, so one causal forward pass solves the
                  self-consistency: there is no fixed-point iteration.
order parameters  q: the deterministic averages, here per step t the predictions f and the kernels
                  Phi^l = <phi(h^l) phi(h^l)>, G^l = <g^l g^l>, K = sum_l G^(l+1) Phi^l (Phi^0 = x.x/D, G^(L+1) = 1).
finite width      Over random initialisations of networks of width N, q_N = q + N^(-1/2) delta + N^(-1) b + ...
Sigma             lim N Cov(q_N) ("*_variance" in results).
b                 lim N (E q_N - q) ("*_bias").
draw              Networks of widths n and r n that share their random numbers (`samples`).

Sigma and b come from draws, or for smooth two-layer networks from linear response. The same equations with n neurons
and explicit matrices are a network of width n, at any richness gamma0(n) and for any activation. In the limit a neuron
acts on all others only through its mean influence, which both widths of a draw have in common, with what the neuron
receives through random matrices (`coupled_matrix`). So their difference is small, and tells how q_N depends on N.

Conventions
-----------
    h^1 = W^0 x / sqrt(D)      h^(l+1) = W^l phi(h^l) / sqrt(N)      f_c = w_c . phi(h^L) / (gamma0 N)
    W, w ~ N(0, sigma_w^2)     Delta = - d loss / d f                g_c^l = gamma0 N d f_c / d h^l
    one step   theta <- theta - eta gamma0^2 N d loss / d theta, which adds with s^l = sum_c Delta_c g_c^l
        to W^l  eta gamma0 / sqrt(N) sum_mu s_mu^(l+1) phi(h_mu^l)^T     (x_mu / sqrt(D) in place of the latter for W^0)
        to w_c  eta gamma0 sum_mu Delta_mu,c phi(h_mu^L)
    so that d f / d t = eta K Delta to first order in eta.

Convolutional layers have fields h_a at positions a; W v stands for sum_k W_k v_(a+k) / sqrt(n_k) over n_k offsets, Phi
is averaged over positions, G summed, and K contracts both between all pairs of positions (`kernels`).

Where the literature has more than one habit, the choice made here:

- gamma0 is of order one at every width. Bordelon & Pehlevan 2022 (arXiv 2205.09653) also write gamma = gamma0 sqrt(N),
  f = h^(L+1) / gamma, learning rate gamma^2 and g^l = sqrt(N) d h^(L+1) / d h^l: the same network and the same g^l.
- sigma_w is the standard deviation of the *initial* weights. It stands neither in front of the weights nor in the
  learning rate, so neither a step nor K has an explicit factor of it. Both papers have sigma_w = 1.
- A bias b of a hidden layer enters as sigma_b b with b ~ N(0, 1) trained at the common rate: one more constant input,
  so it adds sigma_b^2 to x.x/D.
- The loss is a sum over training points (`reduction: mean` divides it, and hence Delta, by their number P: the same
  trajectory as `sum` at eta / P).
- `center` (the default) trains and reports f(t) - f(0). Uncentred, f(0) is random; N Var f(0) = Phi^L / gamma0^2 at
  sigma_w = 1.
- Neural tangent parameterization is gamma0 = N^(-1/2): f = w . phi / sqrt(N), theta <- theta - eta d loss / d theta.
  Networks of width n are simulated at gamma0(n), so b includes what they learn at that richness.
- Time is the step index, eta is explicit, and q(t) is measured before the update of step t. In gradient flow, with
  eta absorbed into time, t counts intervals of length eta.
- Sigma is N times a covariance; an N Var of 1 at N = 100 is a standard deviation of 0.1.

Departures from the papers (arXiv 2205.09653 for q, arXiv 2304.03408 for Sigma)
------------------------------------------------------------------------------
- Discrete time is exact: weights and fields are stepped as in the network, not integrated with d f = eta K Delta. Large
  learning rates (catapults, the edge of stability) need nothing special; `gradient_flow` is the limit of small steps.
- Instead of alternating between sampled fields and two-time kernels until they agree, all sample neurons are stepped
  forward together (`dynamics`). The cost is linear in the number of steps.
- A Gaussian matrix between two layers is never formed. Its products with the few directions that training explores
  are drawn as they are needed, conditioned on all earlier ones (`gaussian_matrix`); the response functions A and B of
  the papers are in these conditional means. Memory does not grow with the square of the number of steps.
  `fwdmft.program.response_functions` computes A and B themselves, as a diagnostic.
- Sigma comes from draws of small networks (`sample_estimates`), not from the inverse of the Hessian of the action over
  all pairs of times: no response functions are derived by hand, and there is no (P T)^3 inversion. Where neurons meet
  in predictions alone (two layers, smooth activations), the response to a few sources gives Sigma and b without draws
  (`linear_response`).
- Bases of random matrices leave out what is small beside what training moves (`simulation.learned`). What that does to
  q is measured by a looser pass (`simulation.truncation`) and stands in its standard error.
- b is computed as well: from the difference of networks of width r n and their parts of width n, and from E q_n - q
  (`next_order`). In the field theory b is the one-loop shift of the mean, from the third derivatives of the action.
- Both are free of the next order in 1/n, by extrapolation from n and r n; what remains is in the standard errors.
- Sample neurons come from scrambled Sobol sequences (`neurons`): errors fall faster than S^(-1/2). Independent
  scramblings give the standard errors of q, independent draws those of Sigma and b.
- Online learning, with fresh points at every step, needs no other theory: neurons carry their input weights in place of
  preactivations at fixed points (`weights`), and a step shows them its points (`FieldEquations.on`). The average over
  the stream is not taken; trajectories, Sigma and b are those of the given one.
- Draws differentiate nothing in the neurons, so activations may have kinks.

A worked case
-------------
Two layers, phi(h) = h, one training point with |x|^2 = D, squared error. A neuron carries (w, h), at first independent
N(0, 1). With a = eta gamma0 Delta and Delta = y - f:

    f = <w h> / gamma0,   K = <h h> + <w w>                         one output, one point, Phi^0 = 1
    w' = w + a h,   h' = h + a w                                    one step; s = Delta g, g = w
    w' h' = w h + a (h h + w w) + a^2 w h                           multiply ...
    f' = f + eta K Delta + eta^2 gamma0^2 f Delta^2                 ... average, divide by gamma0
    h' h' + w' w' = (1 + a^2) (h h + w w) + 4 a w h                 likewise
    K' = K + 4 eta gamma0^2 f Delta + eta^2 gamma0^2 Delta^2 K      from f(0) = 0, K(0) = 2

The last term of each is what first order in eta leaves out. Neurons enter only through A = <w h> and K at t = 0, so
any later q is a function q(A, K) and its finite-width corrections are derivatives of the recursion. Per neuron, w h has
variance 1, h h + w w has variance 4, and they are uncorrelated. With psi_i, the linear influence of neuron i,

    psi_i = q_A w_i h_i + q_K (h_i^2 + w_i^2 - 2)        Sigma = q_A^2 + 4 q_K^2        b = (q_AA + 4 q_KK) / 2

Centred, the prediction is (<w h> - A) / gamma0. After one step it is eta y K + eta^2 gamma0 y^2 A, hence
Sigma = 4 eta^2 y^2 + eta^4 gamma0^2 y^4, and b = 0 as q is still linear in A and K. From the second step on it is not.

Modules, in reading order
-------------------------
the equations       `field_equations` (what the engine asks), `stencil`, `layer_sites`, `layers`, `update`, `products`;
                    `lazy`. `fwdmft.program` derives them from the forward pass of a network
random matrices     `matrix_law`; `rows_in_use`, `orthonormalising`, `gaussian_matrix`, `basis_matrix` (large
                    simulations); `explicit_matrix`, `coupled_matrix` (networks)
passes              `neurons`, `sobol`, `dynamics`, `capacity`, `simulation`
gradient flow       `step_halving`
q                   `problem` (what the theory is asked), `infinite_width`, `sobol_errors`
Sigma and b         `fwdmft.corrections`: `samples`, `sample_estimates`, `next_order`, `layout`,
                    `drawing`, `finite_width`, `from_draws` (from draws); `driven`, `curvature`, `linear_response`,
                    `from_response` (from linear response)
all together        `fwdmft.theory`
"""
