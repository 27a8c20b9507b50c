"""Golden values for prism-train/src/privacy/accounting: each from two other implementations.

cases     epsilon of rho-zCDP at delta
gaussian  delta of Gaussian noise at epsilon, by Google's privacy loss and by the formula of Balle and Wang (2018, theorem 8) in
          numbers of 50 digits

    pip install dp-accounting==0.6.0 opendp==0.16.0 mpmath==1.4.1
    python tests/golden/privacy_accounting.py > tests/golden/privacy_accounting.json

Google's dp-accounting minimises over Renyi orders on a grid, so it is given a fine one; OpenDP searches for the order.
"""

import json

import mpmath
import numpy as np
import opendp.prelude as dp
from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_mechanism
from dp_accounting.rdp import rdp_privacy_accountant

dp.enable_features("contrib")


def google(rho, delta):
    """Epsilon by Renyi differential privacy of a Gaussian of the same rho."""
    orders = 1 + np.geomspace(1e-3, 1e5, 20001)
    accountant = rdp_privacy_accountant.RdpAccountant(orders)
    accountant.compose(dp_event.GaussianDpEvent((1 / (2 * rho)) ** 0.5))
    return accountant.get_epsilon(delta)


def opendp(rho, delta):
    """Epsilon by the library's conversion from zCDP."""
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    measurement = dp.m.make_gaussian(*space, scale=1000.0)
    # A sensitivity that makes the map give rho; the conversion is what is compared.
    sensitivity = 1000.0 * (2 * rho) ** 0.5
    return dp.c.make_zCDP_to_approxDP(measurement).map(sensitivity).epsilon(delta), measurement.map(sensitivity)


def google_gaussian(rho, epsilon):
    """Delta by Google's privacy loss of a Gaussian of sensitivity 1."""
    return privacy_loss_mechanism.GaussianPrivacyLoss((1 / (2 * rho)) ** 0.5).get_delta_for_epsilon(epsilon)


def digits(rho, epsilon):
    """The same from the formula; exactly these doubles are meant."""
    with mpmath.workdps(50):
        rho, epsilon = mpmath.mpf(rho), mpmath.mpf(epsilon)
        m = mpmath.sqrt(2 * rho)
        return float(mpmath.ncdf(m / 2 - epsilon / m) - mpmath.exp(epsilon) * mpmath.ncdf(-m / 2 - epsilon / m))


cases = []
for rho in (1e-4, 0.001549, 0.0305, 0.25, 1.0, 4.0, 20.0):
    for delta in (1e-9, 1e-6, 1e-5, 1e-3):
        epsilon, exact_rho = opendp(rho, delta)
        cases.append({"rho": exact_rho, "delta": delta, "google": google(exact_rho, delta), "opendp": epsilon})
gaussian = [
    {"rho": rho, "epsilon": epsilon, "google": float(google_gaussian(rho, epsilon)), "digits": digits(rho, epsilon)}
    for rho in (1e-4, 0.0018809, 0.0359259, 0.25, 1.0, 4.0, 20.0)
    for epsilon in (0.02, 0.2, 1.0, 4.0, 20.0)
]
print(json.dumps({"cases": cases, "gaussian": gaussian}, indent=1))
